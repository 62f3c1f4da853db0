package fakepoll

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"time"

	"derpd/netpoll"
)

// World owns virtual time, chance, all loops and all peers.
type World struct {
	faults  Faults
	now     time.Duration // virtual time since New
	horizon time.Duration
	rng     *rand.Rand // the world's own draws
	users   *rand.Rand // Rand: apart, so that a test's draws do not shift the faults
	timers  timerHeap
	loops   []*Loop
	pick    []*Loop // room for Step to list what is runnable
	current *Loop   // whose turn it is; nil between turns
	news    []*Peer // peers to which something happened since News
	newsOut []*Peer // what the last News returned
	listen  map[int]netip.AddrPort
	served  map[netip.AddrPort]service
	record  record
}

// New makes a world whose every choice follows from seed.
func New(seed uint64, f Faults) *World {
	return &World{
		faults:  f,
		horizon: horizonDefault,
		rng:     rand.New(rand.NewPCG(seed, 0x66616b65706f6c6c)),
		users:   rand.New(rand.NewPCG(seed, 0x7465737463617365)),
		listen:  make(map[int]netip.AddrPort),
		served:  make(map[netip.AddrPort]service),
	}
}

// Loop adds a loop with the index id (0 to 255, each once) and a receive arena of arenaBytes
// (at least 1) a turn. It needs a handler (Attach) before the first step.
func (w *World) Loop(id int, arenaBytes int) *Loop {
	if id < 0 || id >= loopsMax {
		panic(fmt.Sprintf("fakepoll: loop index %d: a handle holds 0 to %d", id, loopsMax-1))
	}
	if arenaBytes < 1 {
		panic(fmt.Sprintf("fakepoll: arena of %d bytes: at least 1 is needed", arenaBytes))
	}
	for _, l := range w.loops {
		if l.id == id {
			panic(fmt.Sprintf("fakepoll: loop index %d is taken", id))
		}
	}
	l := newLoop(w, id, arenaBytes)
	w.loops = append(w.loops, l)
	return l
}

// Attach gives the loop its handler.
func (w *World) Attach(l *Loop, h netpoll.Handler) { l.handler = h }

// Rand is a random source for the test, from the same seed as the world's own choices but
// apart from them.
func (w *World) Rand() *rand.Rand { return w.users }

// Now is the virtual time since New.
func (w *World) Now() time.Duration { return w.now }

// SetFaults changes the weather from now on; a test ends a storm with it to see whether the
// handlers recover.
func (w *World) SetFaults(f Faults) { w.faults = f }

// SetHorizon sets how far ahead Step looks for timers before it reports that nothing will
// ever happen.
func (w *World) SetHorizon(d time.Duration) { w.horizon = d }

// SetListenAddr sets what LocalAddr tells of connections accepted on a listener; without it
// that is 192.0.2.1, port 443 plus the listener's index.
func (w *World) SetListenAddr(listener int, addr netip.AddrPort) { w.listen[listener] = addr }

// After calls fn between turns when d has passed: a script of a test's own.
func (w *World) After(d time.Duration, fn func()) {
	w.timers.arm(&timer{kind: timerCall, call: fn}, w.now+max(d, 0))
}

// Stats is the loop's Stats for the test, at any moment.
func (w *World) Stats(l *Loop) netpoll.Stats { return l.counters() }

// News returns the peers to which something happened since the last News (accepted, bytes
// arrived, closed), each once, in the order of their first event. The slice is good until
// the next News.
func (w *World) News() []*Peer {
	w.news, w.newsOut = w.newsOut[:0], w.news
	for _, p := range w.newsOut {
		p.listed = false
	}
	return w.newsOut
}

// Step runs one turn of a randomly chosen loop that has something to do or, if none has,
// advances time to the next timer. It returns false when nothing will ever happen: no bytes,
// posts, wakes or closes wait, and no timer within the horizon.
func (w *World) Step() bool {
	w.fireDue()
	l := w.runnable()
	if l == nil {
		t := w.timers.first()
		if t == nil || t.at > w.now+w.horizon {
			return false
		}
		w.now = max(w.now, t.at)
		w.fireDue()
		return true
	}
	if w.chance(w.faults.SpuriousWake) {
		if idle := w.loops[w.rng.IntN(len(w.loops))]; !idle.ended.Load() {
			idle.turn(true)
			return true
		}
	}
	l.turn(false)
	return true
}

// Advance lets d pass, firing timers and running the turns they and everything else cause.
// The last turn may end a little later than that, since turns take time.
func (w *World) Advance(d time.Duration) {
	until := w.now + d
	for w.now <= until {
		w.fireDue()
		if l := w.runnable(); l != nil {
			l.turn(false)
			continue
		}
		t := w.timers.first()
		if t == nil || t.at > until {
			w.now = until
			return
		}
		w.now = max(w.now, t.at)
	}
}

// RunUntil steps until cond holds, at most maxSteps times, and reports whether it holds.
func (w *World) RunUntil(cond func() bool, maxSteps int) bool {
	for range maxSteps {
		if cond() {
			return true
		}
		if !w.Step() {
			break
		}
	}
	return cond()
}

// Trace is a hash of everything that was delivered and transmitted so far, with its time.
func (w *World) Trace() uint64 { return w.record.hash }

// SetLog writes one line for every event from now on, for reading a failing seed; nil stops.
func (w *World) SetLog(out io.Writer) { w.record.out = out }

// Violations lists what handlers did against the contract, in order; the list stops growing
// at a hundred.
func (w *World) Violations() []string { return w.record.list() }

// Violation adds one, for checks of a test's own that belong in the same list.
func (w *World) Violation(format string, args ...any) {
	w.record.violation(w.now, fmt.Sprintf(format, args...))
}

// runnable picks one of the loops that have something to do, or nil.
func (w *World) runnable() *Loop {
	w.pick = w.pick[:0]
	for _, l := range w.loops {
		if l.runnable() {
			w.pick = append(w.pick, l)
		}
	}
	switch len(w.pick) {
	case 0:
		return nil
	case 1:
		return w.pick[0]
	}
	return w.pick[w.rng.IntN(len(w.pick))]
}

// fireDue fires all timers whose time has come.
func (w *World) fireDue() {
	for {
		t := w.timers.first()
		if t == nil || t.at > w.now {
			return
		}
		w.timers.stop(t)
		w.fire(t)
	}
}

func (w *World) fire(t *timer) {
	switch t.kind {
	case timerTimeout:
		t.conn.timeoutDue = true
		t.conn.loop.enqueue(t.conn)
	case timerWrite:
		t.conn.writeTimedOut()
	case timerTransmit:
		t.conn.transmit()
	case timerConnect:
		t.conn.decide()
	case timerAlarm:
		l := t.loop
		l.mu.Lock()
		if !l.ended.Load() {
			l.woken = true
			l.pending.Store(true)
		}
		l.mu.Unlock()
	case timerAccept:
		t.loop.acceptable = true
	case timerCall:
		t.call()
	}
}
