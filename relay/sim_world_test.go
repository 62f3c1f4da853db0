package relay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"derpd/netpoll"
	"derpd/netpoll/fakepoll"
	"derpd/relay/derp"
)

// simWorld is the play of one seed: a whole relay on fake loops in virtual time, and everyone
// who talks to it. All of it runs in one goroutine; every choice follows from the seed.
type simWorld struct {
	seed    uint64
	rules   simRules
	rand    *rand.Rand // choices of clients; the weather has its own
	net     *fakepoll.World
	fakes   []*fakepoll.Loop
	posts   int  // posted functions that have not run
	ticking bool // a timer ends the next idle step
	srv     *Server

	jobs       []func() // worker jobs that have not run
	handshakes int      // fake handshakes neither finished nor stopped
	live       []*simConn
	conns      []*simConn // every connection ever dialled, by id
	tiny       map[simTinyPair]int
	provoked   [reasonCount]uint64 // ends that clients have earned
	faults     []string            // what was found wrong
}

// simRules are the dimensions that a seed chooses.
type simRules struct {
	loops     int
	nodes     int  // keys that log in; the keys behind them are absent
	crowd     int  // connections wanted at a time
	tls       bool // else plain
	steps     int
	calm      bool // no faults at all
	gentle    bool // no resets, by the network or by clients
	small     bool // a small budget for queues
	forever   bool // no write timeout
	shutdown  bool // ends by Shutdown, not by everyone's leaving
	handshake int  // Config.MaxHandshakes
	crowdMax  int  // Config.MaxConnections
	arena     int  // bytes that a loop receives in a turn; 0: as it comes
	crowded   bool // memory is asked for ahead, as among many connections
}

const simKeyCount = 16

// simKeys are the identities of all simulations: making one costs more than using it.
var simKeys = sync.OnceValue(func() (keys [simKeyCount]struct {
	private derp.PrivateKey
	public  derp.Key
}) {
	source := rand.NewChaCha8([32]byte{1})
	for i := range keys {
		keys[i].private, _ = derp.NewPrivateKey(source)
		keys[i].public = keys[i].private.Public()
	}
	return keys
})

var simServerKey = sync.OnceValue(func() derp.PrivateKey {
	key, _ := derp.NewPrivateKey(rand.NewChaCha8([32]byte{2}))
	return key
})

// simNodeOf returns which node a key is, or -1.
func simNodeOf(k derp.Key) int {
	for i := range simKeys() {
		if simKeys()[i].public == k {
			return i
		}
	}
	return -1
}

// simRulesOf draws the dimensions of a seed.
func simRulesOf(seed uint64) simRules {
	r := rand.New(rand.NewPCG(seed, 7))
	rules := simRules{
		loops:    1 + r.IntN(3),
		nodes:    3 + r.IntN(10),
		tls:      r.IntN(3) == 0,
		steps:    300 + r.IntN(500),
		calm:     r.IntN(8) == 0,
		gentle:   r.IntN(3) == 0,
		small:    r.IntN(2) == 0,
		forever:  r.IntN(4) == 0,
		shutdown: r.IntN(4) == 0,
	}
	rules.crowd = rules.nodes + r.IntN(3)
	if r.IntN(8) == 0 {
		rules.handshake = 2
	}
	if r.IntN(8) == 0 {
		rules.crowdMax = rules.crowd
	}
	rules.crowded = r.IntN(2) == 0
	return rules
}

// newSimWorld builds the relay and nobody to use it.
func newSimWorld(seed uint64, rules simRules) *simWorld {
	faults := fakepoll.DefaultFaults()
	faults.Reset = 0.001
	if rules.gentle {
		faults.Reset, faults.RudeClose = 0, 0
	}
	if rules.calm {
		faults = fakepoll.None()
	}
	w := &simWorld{seed: seed, rules: rules, net: fakepoll.New(seed, faults),
		rand: rand.New(rand.NewPCG(seed, 8)), tiny: make(map[simTinyPair]int)}
	cfg := Config{Key: simServerKey(), WriteTimeout: 2 * time.Second, Seed: seed + 1,
		MaxHandshakes: rules.handshake, MaxConnections: rules.crowdMax,
		Submit: func(job func()) { w.jobs = append(w.jobs, job) }}
	if rules.forever {
		cfg.WriteTimeout = 0
	}
	if rules.small {
		cfg.QueueBudget = int64(rules.loops) * 64 << 10
	}
	if rules.tls {
		cfg.NewHandshake = func(_, _ net.Addr) Handshaker {
			w.handshakes++
			return &simHandshake{world: w}
		}
	}
	w.srv = New(cfg)
	for id := range rules.loops {
		arena := rules.arena
		if arena == 0 {
			arena = 1 + w.rand.IntN(128<<10)
		}
		f := w.net.Loop(id, arena)
		w.fakes = append(w.fakes, f)
		w.net.Attach(f, w.srv.Attach(&simLoop{Loop: f, world: w}, rules.loops))
		if rules.crowded {
			w.srv.loops[id].crowdMin = 0
		}
	}
	return w
}

// simLoop is a fake loop whose posted functions are counted until they have run.
type simLoop struct {
	*fakepoll.Loop
	world *simWorld
}

func (l *simLoop) Post(fn func()) bool  { return l.counted(l.Loop.Post, fn) }
func (l *simLoop) Leave(fn func()) bool { return l.counted(l.Loop.Leave, fn) }

func (l *simLoop) counted(post func(func()) bool, fn func()) bool {
	ok := post(func() {
		l.world.posts--
		fn()
	})
	if ok {
		l.world.posts++
	}
	return ok
}

// wrong records a fault of the relay.
func (w *simWorld) wrong(format string, args ...any) {
	if len(w.faults) < 20 {
		w.faults = append(w.faults, fmt.Sprintf("%v: ", w.net.Now())+fmt.Sprintf(format, args...))
	}
}

// odds is true once in n times.
func (w *simWorld) odds(n int) bool { return w.rand.IntN(n) == 0 }

// dial begins a connection of a node to a random loop.
func (w *simWorld) dial(node int) *simConn {
	c := &simConn{world: w, id: len(w.conns), node: node, lastOf: make(map[int]*simConn),
		seen: make(map[int]int), gone: make(map[int]bool)}
	remote := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(node), 1}),
		uint16(1024+c.id))
	loop := w.rand.IntN(len(w.fakes))
	c.peer = w.net.Dial(w.fakes[loop], 0, remote)
	w.conns = append(w.conns, c)
	w.live = append(w.live, c)
	return c
}

// step lets one thing happen: on the network, and at the ends that it concerns.
func (w *simWorld) step() {
	if len(w.jobs) > 0 && w.odds(3) {
		w.work()
	}
	if !w.ticking { // or an idle network would leap to the next timeout
		w.ticking = true
		w.net.After(w.someLag(), func() { w.ticking = false })
	}
	w.net.Step()
	w.react()
}

// someLag is how long the network waits for clients to act.
func (w *simWorld) someLag() time.Duration {
	return time.Duration(w.rand.Int64N(int64(200 * time.Microsecond)))
}

// react lets clients read what has arrived, and looks who has logged in or gone.
func (w *simWorld) react() {
	for _, p := range w.net.News() {
		for _, c := range w.live {
			if c.peer == p && (w.rules.calm || !w.odds(4)) {
				c.read()
			}
		}
	}
	kept := w.live[:0]
	for _, c := range w.live {
		c.look()
		if c.peer.Closed() && c.peer.Buffered() == 0 {
			c.over = true
			continue
		}
		kept = append(kept, c)
	}
	clear(w.live[len(kept):])
	w.live = kept
}

// work runs one of the jobs that wait for a worker.
func (w *simWorld) work() {
	i, last := w.rand.IntN(len(w.jobs)), len(w.jobs)-1
	job := w.jobs[i]
	w.jobs[i] = w.jobs[last]
	w.jobs = w.jobs[:last]
	job()
}

// pass lets time go by in slices, so that workers and readers keep up with it.
func (w *simWorld) pass(d time.Duration) {
	const slices = 8
	for range slices {
		w.net.Advance(d / slices)
		for len(w.jobs) > 0 {
			w.work()
		}
		w.react()
	}
}

// simResult is what came of a seed.
type simResult struct {
	faults []string // what was wrong
	trace  uint64
	totals Snapshot // at the end
	net    netpoll.Stats
}

// simRun plays a seed.
func simRun(seed uint64) (result simResult) {
	w := newSimWorld(seed, simRulesOf(seed))
	defer func() {
		if p := recover(); p != nil {
			w.wrong("panic: %v\n%s", p, debug.Stack())
		}
		result = w.result()
		w.srv.Close()
	}()
	for range w.rules.steps {
		w.anyoneActs()
		w.step()
		if len(w.faults) > 0 {
			return result
		}
	}
	w.settle()
	w.checkSettled()
	w.checkActive()
	if len(w.faults) == 0 { // an end on top of a fault only repeats it
		w.everyoneLeaves()
		w.checkEmpty()
	}
	return result
}

func (w *simWorld) result() simResult {
	r := simResult{trace: w.net.Trace(), totals: w.totals()}
	r.faults = append(w.faults, w.net.Violations()...)
	for _, f := range w.fakes {
		s := w.net.Stats(f)
		r.net.Sends += s.Sends
		r.net.SendBlocked += s.SendBlocked
		r.net.AcceptErrors += s.AcceptErrors
		r.net.Wakeups += s.Wakeups
	}
	return r
}

// anyoneActs has somebody do something.
func (w *simWorld) anyoneActs() {
	switch {
	case len(w.live) < w.rules.crowd && w.odds(4):
		if c := w.dial(w.rand.IntN(w.rules.nodes)); w.odds(12) {
			c.beStrange()
		} else {
			c.begin()
		}
	case w.odds(60):
		w.pass(w.someTime())
	case len(w.live) > 0:
		w.live[w.rand.IntN(len(w.live))].act()
	}
}

// someTime is mostly short: queues expire after a second, writes after two, handshakes after
// ten, and keepalives are due after sixty.
func (w *simWorld) someTime() time.Duration {
	longest := 5 * time.Millisecond
	switch w.rand.IntN(16) {
	case 0:
		longest = 90 * time.Second
	case 1:
		longest = 15 * time.Second
	case 2, 3:
		longest = 3 * time.Second
	case 4, 5, 6:
		longest = time.Second
	}
	return time.Duration(w.rand.Int64N(int64(longest)))
}

// settle lets everything under way come to its end: all is written, received, routed, sent
// and read. No new packets, no more resets.
func (w *simWorld) settle() {
	if !w.rules.calm {
		f := fakepoll.DefaultFaults()
		f.Reset, f.RudeClose = 0, 0
		w.net.SetFaults(f)
	}
	for _, c := range w.live {
		c.thaw()
	}
	if !w.until(w.quiet) {
		w.wrong("does not settle: %s", w.unquiet())
	}
}

// until steps until cond holds, with all clients writing and reading as they can.
func (w *simWorld) until(cond func() bool) bool {
	const stepsMax = 50_000
	for range stepsMax {
		for _, c := range w.live {
			c.readAll()
			c.write(true)
		}
		for len(w.jobs) > 0 {
			w.work()
		}
		w.react()
		if cond() {
			return true
		}
		w.net.Step()
	}
	return false
}

func (w *simWorld) quiet() bool { return w.unquiet() == "" }

// unquiet says what is still under way, empty if nothing is.
func (w *simWorld) unquiet() string {
	if w.posts+len(w.jobs) > 0 {
		return fmt.Sprintf("%d posts, %d jobs", w.posts, len(w.jobs))
	}
	for _, c := range w.live {
		if c.leaving {
			return fmt.Sprintf("%v is leaving", c)
		}
		if !c.peer.Accepted() || c.peer.Unreceived()+c.peer.Buffered()+len(c.wire) > 0 ||
			len(c.plain) > 0 && (c.tls != nil || !w.rules.tls) {
			return fmt.Sprintf("conn %d: accepted %t, %d unreceived, %d unread, %d+%d unwritten",
				c.id, c.peer.Accepted(), c.peer.Unreceived(), c.peer.Buffered(), len(c.plain),
				len(c.wire))
		}
	}
	for _, l := range w.srv.loops {
		for _, c := range l.conns {
			if c == nil {
				continue
			}
			if c.phase == phaseDead || c.out != nil || c.ctl != nil || c.login != nil {
				return fmt.Sprintf("%#x: phase %d, out %t, ctl %t, login %t", uint64(c.h), c.phase,
					c.out != nil, c.ctl != nil, c.login != nil)
			}
			if cl := c.client; cl != nil && !cl.q.Empty() {
				return fmt.Sprintf("%#x: %d bytes queued", uint64(c.h), cl.q.Bytes())
			}
		}
	}
	if n := w.totals().Connections; n != len(w.live) {
		return fmt.Sprintf("%d connections of %d peers", n, len(w.live))
	}
	return w.undone()
}

// undone says what loops have put off to their next turn.
func (w *simWorld) undone() string {
	for i, l := range w.srv.loops {
		if l.arrivals.Load() != nil || len(l.gone)+len(l.dirty)+len(l.lent) > 0 {
			return fmt.Sprintf("loop %d: %d departures, %d connections to flush, %d blocks", i,
				len(l.gone), len(l.dirty), len(l.lent))
		}
	}
	return ""
}

// everyoneLeaves ends the play, by their will or by the relay's.
func (w *simWorld) everyoneLeaves() {
	if w.rules.shutdown {
		if err := w.srv.Shutdown(context.Background()); err != nil {
			w.wrong("Shutdown: %v", err)
		}
	} else {
		for _, c := range w.live {
			c.leave()
		}
	}
	if !w.until(func() bool {
		return w.totals().Connections == 0 && len(w.live)+len(w.jobs)+w.posts == 0 &&
			(w.rules.shutdown || w.undone() == "")
	}) {
		w.wrong("%d connections never end, %d peers, %d jobs, %d posts",
			w.totals().Connections, len(w.live), len(w.jobs), w.posts)
	}
}

// totals sums the counters of all loops.
func (w *simWorld) totals() Snapshot {
	s := Snapshot{Counts: w.srv.keys.Counts()}
	for _, l := range w.srv.loops {
		n := l.n
		n.QueuedBytes = l.q.Held()
		s.add(&n)
	}
	return s
}
