package engine

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"derpd/loadgen"
	"derpd/netpoll"
)

// loop is the engine's half of one event loop; it implements netpoll.Handler. All of it belongs to
// the loop's goroutine.
type loop struct {
	e    *Engine
	id   int
	poll netpoll.Runner
	own  []int32 // its clients, by index in Engine.clients
	at   []int32 // client of a slot, plus 1

	// Logging in.
	waiting  []int32 // clients to log in, the last first
	again    []retry // clients that come back after a while, the soonest first
	logins   int     // in flight
	credit   float64 // logins that may begin; with a bounded rate
	creditAt int64   // when that was so
	open     int     // logged in

	// Sending and receiving.
	run      *run // nil: no step
	due      senders
	floods   []*sender // that send as fast as TCP takes it, and may go on
	flooding []*sender // those of this turn
	behind   bool      // a receiver had much to take in this turn
	filling  []*sender // have room to seal ahead
	plain    []byte    // of the record that is made, or the part of one that is looked at
	sample   int       // records until one is opened whole
	blocked  int       // senders that TCP holds back
	stashes  [][]byte
	heads    []*[headMax]byte
	now      int64 // of this Received
	active   bool  // this turn did something

	nextLeaver int     // in own
	cutting    []int32 // clients whose connections are to be reset

	asking  []int32 // clients to be asked with a Ping, the last first
	pinging int
	counts
}

// counts is what a loop counts. Tallies are of a step, the rest of the engine's life.
type counts struct {
	failures loadgen.Failures
	login    *loadgen.Hist
	began    uint64 // logins
	ended    uint64 // logins that succeeded

	groups   []tally
	wrong    loadgen.Wrong
	lag      *loadgen.Hist
	recent   *loadgen.Hist // latencies since the last look
	given    *loadgen.Hist // those before it, for whoever looks
	busy     int64         // ns worked in the window
	stale    uint64        // packets of an earlier step
	asked    int
	answered int
}

// tally counts the packets of one group, of the whole step and of the window.
type tally struct {
	due, notAccepted, sent, delivered uint64
	winDue, winSent, winDelivered     uint64
	winSentBytes, winDeliveredBytes   uint64
	latency                           *loadgen.Hist
}

// retry is a client that comes back at a time.
type retry struct {
	client int32
	at     int64
}

// newLoop makes a loop of so many. If there is one more than was asked for, that is for the clients
// of OwnLoop, and the others let it interrupt them.
func newLoop(e *Engine, id, of int) (*loop, error) {
	kind := netpoll.Engine(e.opt.Engine)
	if kind == "" {
		kind = netpoll.EngineEpoll
	}
	cfg := netpoll.Config{ArenaBytes: arenaBytes, ReceiveBytes: receiveBytes}
	if of > e.opt.Loops && id < e.opt.Loops {
		cfg.Slice = interruptedSlice
	}
	poll, err := kind.New(id, cfg)
	if err != nil {
		return nil, err
	}
	return &loop{e: e, id: id, poll: poll, creditAt: netpoll.Clock(), sample: 1,
		counts: counts{login: loadgen.NewHist(), lag: loadgen.NewHist(),
			recent: loadgen.NewHist(), given: loadgen.NewHist()}}, nil
}

// goFirst lets the calling thread, which is its goroutine's alone, run before the others of this
// program until restore is called. Who may not do that (CAP_SYS_NICE) sees in a storm how late this
// generator is more than how late the relay is.
func goFirst() (restore func()) {
	was, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil || unix.Setpriority(unix.PRIO_PROCESS, 0, firstNice) != nil {
		return func() {}
	}
	return func() { _ = unix.Setpriority(unix.PRIO_PROCESS, 0, 20-was) } // getpriority(2)
}

// client finds the live client of a handle, or nil.
func (l *loop) client(h netpoll.Handle) *client {
	slot := h.Slot()
	if slot >= len(l.at) || l.at[slot] == 0 {
		return nil
	}
	if c := &l.e.clients[l.at[slot]-1]; c.h == h {
		return c
	}
	return nil
}

// Accepted implements netpoll.Handler: there are no listeners.
func (l *loop) Accepted(netpoll.Handle, int, netip.AddrPort) {}

// Received implements netpoll.Handler.
func (l *loop) Received(h netpoll.Handle, b []byte) {
	c := l.client(h)
	if c == nil || c.leaves {
		return
	}
	l.active = true
	if len(b) == 0 {
		l.farEnd(c)
		return
	}
	l.now = netpoll.Clock()
	l.behind = l.behind || len(b) >= behindBytes
	switch {
	case c.phase == phaseHandshake:
		c.shake.feed(l.e, b)
	case c.tls.Version() != 0:
		l.records(c, b)
	default:
		l.plaintext(c, b)
	}
	if c.slow != nil && !c.leaves {
		l.rest(c, len(b))
	}
}

// rest pauses a slow receiver for as long as what it read should have taken.
func (l *loop) rest(c *client, n int) {
	if c.slow.bytesPerSecond > 0 && l.run != nil {
		c.slow.waiting = true
		l.poll.PauseReceive(c.h)
		l.poll.SetTimeout(c.h, nanos(float64(n)/float64(c.slow.bytesPerSecond)))
	}
}

// Sent implements netpoll.Handler.
func (l *loop) Sent(h netpoll.Handle, _ []byte, _ int, err error) {
	c := l.client(h)
	if c == nil {
		return
	}
	l.active = true
	c.sending = false
	if err != nil {
		return // Closed follows
	}
	l.freed(c)
}

// Timeout implements netpoll.Handler: a login takes too long, or a slow receiver may go on.
func (l *loop) Timeout(h netpoll.Handle) {
	c := l.client(h)
	if c == nil {
		return
	}
	if c.phase == phaseOpen {
		if c.slow != nil && c.slow.waiting {
			c.slow.waiting = false
			l.poll.ResumeReceive(h)
		}
		return
	}
	l.drop(c, loadgen.FailTimeout, "no login within "+l.e.opt.LoginFor.String())
}

// Woken implements netpoll.Handler.
func (l *loop) Woken() {}

// Flush implements netpoll.Handler: what is due is sent, new logins begin, and what time is left
// goes into records for later.
func (l *loop) Flush() {
	now := l.poll.Now()
	if len(l.waiting) > 0 || len(l.again) > 0 {
		l.beginLogins(now)
	}
	if l.run != nil {
		l.pump(now)
	}
	if len(l.cutting) > 0 {
		l.cutSome()
	}
	if len(l.asking) > 0 {
		l.ask()
	}
	l.setAlarm(now)
	if l.active {
		l.active = false
		if r := l.run; r != nil && now >= r.from && now < r.until {
			l.busy += netpoll.Clock() - now
		}
	} else if len(l.filling) > 0 {
		l.fillSome()
	}
}

// setAlarm asks for a turn when the next packet or client is due.
func (l *loop) setAlarm(now int64) {
	at := int64(0)
	if l.run != nil && len(l.due) > 0 {
		at = max(l.due[0].due, now)
	}
	if l.run != nil && len(l.floods) > 0 || len(l.cutting) > 0 {
		at = now
	}
	if len(l.again) > 0 && (at == 0 || l.again[0].at < at) {
		at = max(l.again[0].at, now)
	}
	if len(l.waiting) > 0 && l.e.opt.PerSec > 0 && l.credit < 1 {
		next := now + int64((1-l.credit)/l.loginsPerSec()*float64(time.Second))
		if at == 0 || next < at {
			at = next
		}
	}
	l.poll.WakeAt(at)
}
