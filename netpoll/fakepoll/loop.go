package fakepoll

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"derpd/netpoll"
)

// Loop is one event loop of a World.
type Loop struct {
	world   *World
	id      int
	handler netpoll.Handler
	arena   arena
	now     time.Duration // of this turn
	stats   netpoll.Stats
	wakeups uint64 // guarded by mu

	slots       []slot
	free        []int   // slots to use again, the latest freed first
	connections int     // slots in use
	limit       int     // connections at most
	ready       []*conn // have something to deliver; each once
	batch       []*conn // what this turn serves

	backlog     []arrival // dialled and not accepted, in order
	acceptTimer timer
	alarm       timer         // of WakeAt
	acceptable  bool          // the backlog may be looked at
	acceptFails int           // failures in a row
	lastArrival time.Duration // keeps the backlog in order
	closing     bool          // the last turn is on

	mu       sync.Mutex // guards what other goroutines reach
	posts    []func()
	running  []func()    // posts of this turn; swapped with posts
	woken    bool        // Wake or Post since the last turn; guarded by mu
	stopping bool        // Stop was called; guarded by mu
	pending  atomic.Bool // woken or stopping, published for runnable; written under mu
	asleep   atomic.Bool // nothing was ready when the last turn ended; the turns write it
	ended    atomic.Bool // the last turn is over; the turns write it, under mu
}

// slot is one place of the table of connections.
type slot struct {
	conn       *conn // nil: free
	generation uint32
}

// arrival is a peer in the accept queue.
type arrival struct {
	peer *Peer
	at   time.Duration
}

func newLoop(w *World, id, arenaBytes int) *Loop {
	l := &Loop{world: w, id: id, arena: newArena(arenaBytes), limit: slotsMax}
	l.acceptTimer = timer{kind: timerAccept, loop: l}
	l.alarm = timer{kind: timerAlarm, loop: l}
	l.asleep.Store(true)
	return l
}

// SetMaxConnections bounds the table of connections: when it is full, Connect fails with
// netpoll.ErrTooMany, and what is accepted is closed without a word to the handler.
func (l *Loop) SetMaxConnections(n int) { l.limit = min(max(n, 0), slotsMax) }

var _ netpoll.Loop = (*Loop)(nil)

// ID implements netpoll.Loop.
func (l *Loop) ID() int { return l.id }

// Now implements netpoll.Loop: virtual time in nanoseconds, read once a turn.
func (l *Loop) Now() int64 {
	l.own("Now")
	return int64(l.now)
}

// Wake implements netpoll.Loop; any goroutine may call it.
func (l *Loop) Wake() {
	l.mu.Lock()
	l.wake()
	l.mu.Unlock()
}

// Post implements netpoll.Loop; any goroutine may call it.
func (l *Loop) Post(fn func()) bool {
	if !l.Leave(fn) {
		return false
	}
	l.Wake()
	return true
}

// Leave implements netpoll.Loop; any goroutine may call it.
func (l *Loop) Leave(fn func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended.Load() {
		return false
	}
	l.posts = append(l.posts, fn)
	return true
}

// Stop implements netpoll.Loop; any goroutine may call it.
func (l *Loop) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended.Load() {
		l.stopping = true
		l.pending.Store(true)
	}
}

// WakeAt implements netpoll.Loop.
func (l *Loop) WakeAt(at int64) {
	if !l.own("WakeAt") {
		return
	}
	l.world.timers.stop(&l.alarm)
	if at != 0 {
		l.world.timers.arm(&l.alarm, max(time.Duration(at), l.world.now))
	}
}

// SetBusy implements netpoll.Loop: turns are run when there is something to do.
func (l *Loop) SetBusy(bool) { l.own("SetBusy") }

// wake is called with mu held.
func (l *Loop) wake() {
	if l.ended.Load() {
		return
	}
	if !l.pending.Load() && l.asleep.Load() {
		l.wakeups++
	}
	l.woken = true
	l.pending.Store(true)
}

// Close implements netpoll.Loop.
func (l *Loop) Close(h netpoll.Handle) {
	if c := l.lookup(h, "Close"); c != nil {
		c.close(false)
	}
}

// Reset implements netpoll.Loop.
func (l *Loop) Reset(h netpoll.Handle) {
	if c := l.lookup(h, "Reset"); c != nil {
		c.close(true)
	}
}

// Send implements netpoll.Loop.
func (l *Loop) Send(h netpoll.Handle, b []byte) bool {
	c := l.lookup(h, "Send")
	if len(b) > 0 && l.arena.stale(b) {
		l.world.Violation("loop %d: Send of received bytes after their Flush", l.id)
	}
	if c == nil || len(b) == 0 {
		return true
	}
	if c.send(b) {
		return true
	}
	if l.arena.current(b) {
		l.world.Violation("loop %d: Send kept received bytes beyond their turn", l.id)
	}
	return false
}

// PauseReceive implements netpoll.Loop.
func (l *Loop) PauseReceive(h netpoll.Handle) {
	if c := l.lookup(h, "PauseReceive"); c != nil && !c.paused {
		c.paused = true
		arrived := c.peer != nil && c.peer.toLoop.len() > 0
		c.late = arrived && l.world.chance(l.world.faults.LatePause)
	}
}

// ResumeReceive implements netpoll.Loop.
func (l *Loop) ResumeReceive(h netpoll.Handle) {
	if c := l.lookup(h, "ResumeReceive"); c != nil {
		c.paused, c.late = false, false
		c.wantTurn()
	}
}

// SetReceiveMax implements netpoll.Loop. What has arrived already may come as one larger
// piece, as if the kernel had filled its buffer before.
func (l *Loop) SetReceiveMax(h netpoll.Handle, n int) {
	c := l.lookup(h, "SetReceiveMax")
	if c == nil {
		return
	}
	c.receiveMax = max(n, 0)
	arrived := c.peer != nil && c.peer.toLoop.len() > 0
	c.filled = arrived && l.world.chance(l.world.faults.LatePause)
}

// SetTimeout implements netpoll.Loop.
func (l *Loop) SetTimeout(h netpoll.Handle, d time.Duration) {
	c := l.lookup(h, "SetTimeout")
	if c == nil || c.ended {
		return
	}
	c.timeoutDue = false
	if d <= 0 {
		l.world.timers.stop(&c.timeout)
		return
	}
	l.world.timers.arm(&c.timeout, l.world.coarse(l.now+d))
}

// SetWriteTimeout implements netpoll.Loop.
func (l *Loop) SetWriteTimeout(h netpoll.Handle, d time.Duration) {
	c := l.lookup(h, "SetWriteTimeout")
	if c == nil || c.ended {
		return
	}
	c.writeTimeout = d
	c.armWrite()
}

// LocalAddr implements netpoll.Loop.
func (l *Loop) LocalAddr(h netpoll.Handle) (netip.AddrPort, error) {
	c := l.lookup(h, "LocalAddr")
	if c == nil || c.ended {
		return netip.AddrPort{}, netpoll.ErrClosed
	}
	return c.local, nil
}

// RoundTrip implements netpoll.Loop. It spreads connections from 1 to 700 ms by their slots, and
// has no answer for every 100th.
func (l *Loop) RoundTrip(h netpoll.Handle) (time.Duration, bool) {
	c := l.lookup(h, "RoundTrip")
	if c == nil || c.ended || c.connecting || h.Slot()%100 == 99 {
		return 0, false
	}
	return time.Duration(1+h.Slot()*53%700) * time.Millisecond, true
}

// Stats implements netpoll.Loop; a test between turns uses World.Stats.
func (l *Loop) Stats() netpoll.Stats {
	l.own("Stats")
	return l.counters()
}

func (l *Loop) counters() netpoll.Stats {
	s := l.stats
	s.Connections = l.connections
	l.mu.Lock()
	s.Wakeups = l.wakeups
	l.mu.Unlock()
	return s
}

// own reports whether it is this loop's turn; if not, the call is a violation.
func (l *Loop) own(method string) bool {
	if l.world.current == l {
		return true
	}
	where := "outside any turn"
	if other := l.world.current; other != nil {
		where = fmt.Sprintf("in a turn of loop %d", other.id)
	}
	l.world.Violation("loop %d: %s called %s: only Wake, Post, Leave and Stop may be",
		l.id, method, where)
	return false
}

// lookup finds the connection of a handle: nil if it has ended or the call is a violation.
func (l *Loop) lookup(h netpoll.Handle, method string) *conn {
	if !l.own(method) || h == 0 {
		return nil
	}
	if h.Loop() != l.id {
		l.world.Violation("loop %d: %s with handle %#x of loop %d",
			l.id, method, uint64(h), h.Loop())
		return nil
	}
	if h.Slot() >= len(l.slots) {
		l.world.Violation("loop %d: %s with handle %#x, which was never given",
			l.id, method, uint64(h))
		return nil
	}
	s := &l.slots[h.Slot()]
	if s.conn == nil || s.generation != h.Generation() {
		return nil
	}
	return s.conn
}

// take gives a new connection a slot, the one freed last if there is one. False: full.
func (l *Loop) take(c *conn) bool {
	if l.connections >= l.limit {
		return false
	}
	l.connections++
	var i int
	if n := len(l.free); n > 0 {
		i, l.free = l.free[n-1], l.free[:n-1]
	} else {
		i = len(l.slots)
		// Any start will do; one near the end now and then makes generations wrap.
		below := l.world.rng.Uint32N(1 << l.world.rng.IntN(32))
		l.slots = append(l.slots, slot{generation: ^uint32(0) - below})
	}
	s := &l.slots[i]
	s.conn = c
	if s.generation++; s.generation == 0 {
		s.generation = 1
	}
	c.h = netpoll.MakeHandle(l.id, i, s.generation)
	return true
}

// release makes the slot of an ended connection free.
func (l *Loop) release(c *conn) {
	c.gone = true
	l.slots[c.h.Slot()].conn = nil
	l.free = append(l.free, c.h.Slot())
	l.connections--
}

// coarse is when a timer for at fires: up to one tick late, never early.
func (w *World) coarse(at time.Duration) time.Duration {
	if w.faults == (Faults{}) {
		return (at + netpoll.TimerTick - 1) / netpoll.TimerTick * netpoll.TimerTick
	}
	return at + time.Duration(w.rng.Int64N(int64(netpoll.TimerTick)))
}
