package relay

import (
	"errors"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"derpd/netpoll"
	"derpd/relay/block"
	"derpd/relay/derp"
	"derpd/relay/queue"
)

// loop is the relay's half of one event loop; it implements netpoll.Handler. All fields
// but arrivals and last belong to the loop's goroutine.
type loop struct {
	srv    *Server
	poll   netpoll.Loop
	number int     // in Server.wakes
	conns  []*conn // by slot

	q          queue.Loop           // blocks and queue memory
	dirty      []*conn              // have something to send when the turn ends
	lent       []*block.Block       // hold bytes that queued frames may refer to until then
	wakes      [4]uint64            // loops to wake when the turn ends, a bit each
	gone       []goneWork           // departures still to be told
	lost       []*client            // links that ended, whose keys are still to be forgotten
	remotes    map[derp.Key]*sender // keys of other nodes that have sent to clients of this loop
	lastRemote *sender
	// remotesLook is how many remotes there must be to look for useless ones, remotesNext when that
	// may be done again.
	remotesLook int
	remotesNext int64
	ahead       *ahead // while bytes are dealt with that a worker has looked at
	crowdMin    int    // crowdMin, unless a test is not to wait for so many
	stalled     int64  // stalledAfter, unless a test is not to hurry
	ageMax      int64  // queue.AgeMax, unless a test is not to
	stopping    bool
	n           Counters
	rng         *rand.Rand
	refused     refusals
	strangers   refusedLogins
	shaking     shaking

	// arrivals are clients of this loop whose inbox others have pushed to: a stack, pushed
	// by any loop, taken whole by this one. It publishes the pushed frames.
	arrivals atomic.Pointer[client]
	// last is the final snapshot, written when the loop stops.
	last atomic.Pointer[Snapshot]
}

func newLoop(s *Server, p netpoll.Loop, loops int) *loop {
	l := &loop{srv: s, poll: p, crowdMin: crowdMin, stalled: int64(stalledAfter),
		ageMax:      int64(queue.AgeMax),
		remotesLook: remotesLookMin,
		rng:         rand.New(rand.NewPCG(s.cfg.Seed, uint64(p.ID())))}
	l.q.Budget = s.cfg.QueueBudget / int64(loops)
	return l
}

// at returns the live connection of a handle, or nil.
func (l *loop) at(h netpoll.Handle) *conn {
	if slot := h.Slot(); slot < len(l.conns) {
		if c := l.conns[slot]; c != nil && (c.h == h || plant == plantStaleHandle) {
			return c
		}
	}
	return nil
}

// open makes the state of a new connection.
func (l *loop) open(h netpoll.Handle, remote netip.AddrPort) *conn {
	for h.Slot() >= len(l.conns) {
		l.conns = append(l.conns, nil)
	}
	c := &conn{h: h, early: &early{remote: remote}}
	l.conns[h.Slot()] = c
	l.n.Connections++
	return c
}

// Accepted implements netpoll.Handler.
func (l *loop) Accepted(h netpoll.Handle, _ int, remote netip.AddrPort) {
	c := l.open(h, remote)
	l.n.Accepts++
	s := l.srv
	if s.shared.connections.Add(1) > int64(s.cfg.MaxConnections) {
		l.end(c, EndConnectionCap)
		return
	}
	if s.cfg.AcceptsPerSecond > 0 && !s.shared.accepts.take(l.poll.Now(), &s.cfg) {
		l.end(c, EndAcceptLimit)
		return
	}
	l.poll.SetReceiveMax(h, preLoginReceive)
	l.poll.SetWriteTimeout(h, s.cfg.WriteTimeout)
	if s.cfg.NewHandshake == nil {
		c.phase = phaseRequest
		l.poll.SetTimeout(h, requestTimeout)
		return
	}
	c.phase = phaseHello
	l.poll.SetTimeout(h, handshakeTimeout)
}

// Received implements netpoll.Handler.
func (l *loop) Received(h netpoll.Handle, b []byte) {
	c := l.at(h)
	if c == nil || c.phase == phaseDead {
		return
	}
	if len(b) == 0 {
		l.endOfStream(c)
		return
	}
	switch {
	case c.phase == phaseHello || c.phase == phaseHandshake:
		l.handshakeBytes(c, b)
	case c.phase == phaseDrain:
		// What a peer says after we ended the conversation has no reader.
	case c.phase == phaseLogin && c.login != nil && (c.tls != nil || c.ws == nil):
		l.stash(c, b)
	case c.tls != nil:
		l.expectRecord(c)
		l.records(c, b)
	default:
		l.plaintext(c, b)
	}
}

// Sent implements netpoll.Handler.
func (l *loop) Sent(h netpoll.Handle, b []byte, _ int, err error) {
	c := l.at(h)
	if c == nil || c.out == nil {
		return
	}
	if plant == plantDoubleSend && err == nil && c.outFrames[0]+c.outFrames[1] > 0 {
		l.sentFrames(c)
		if !l.poll.Send(h, b) {
			return
		}
	}
	l.q.Charge(-cap(c.out.Buf))
	c.out.Free(&l.q.Blocks)
	c.out = nil
	if err != nil { // Closed follows
		for k, n := range c.outFrames {
			l.n.Drops[DropWriteError][k].Frames += uint64(n)
			l.n.Drops[DropWriteError][k].Bytes += uint64(int(c.outBytes[k]) - int(n)*c.client.overhead())
		}
		c.outFrames, c.outBytes = [2]uint16{}, [2]int32{}
		return
	}
	l.sentFrames(c)
	l.touch(c)
}

// Closed implements netpoll.Handler.
func (l *loop) Closed(h netpoll.Handle, err error) {
	c := l.at(h)
	if c == nil {
		return
	}
	if c.phase != phaseDead {
		l.forget(c, endOf(err))
	}
	l.conns[h.Slot()] = nil
	l.n.Connections--
	l.srv.shared.connections.Add(-1)
}

// endOf translates why the loop closed a connection.
func endOf(err error) Reason {
	switch {
	case errors.Is(err, netpoll.ErrWriteTimeout):
		return EndWriteTimeout
	case errors.Is(err, netpoll.ErrStopped):
		return EndShutdown
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE),
		errors.Is(err, unix.ETIMEDOUT):
		return EndPeerReset
	}
	return EndKernel
}

// Woken implements netpoll.Handler: frames from other loops, then departures.
func (l *loop) Woken() {
	for cl := l.arrivals.Swap(nil); cl != nil; {
		next := cl.nextArrival
		cl.nextArrival = nil
		cl.arrived.Store(false) // before the inbox is taken: a later push notifies again
		l.takeInbox(cl)
		if cl.node != nil {
			l.takeEvents(cl)
		}
		cl = next
	}
	if len(l.gone) > 0 {
		l.tellGone()
	}
	if len(l.lost) > 0 {
		l.dropLost()
	}
}

// Flush implements netpoll.Handler: the end of the turn.
func (l *loop) Flush() {
	l.expectSeal(0)
	for i := 0; i < len(l.dirty); i++ { // ending a connection may touch another
		c := l.dirty[i]
		l.expectSeal(i + 1)
		c.dirty = false
		l.flush(c)
		if cl := c.client; cl != nil && !cl.q.Empty() {
			cl.q.Own(&l.q)
		}
		if c.phase == phaseDrain && c.out == nil && c.ctl == nil {
			l.drained(c)
		}
		if c.bridge != nil && c.out == nil && c.ctl == nil {
			c.bridge.written()
		}
	}
	clear(l.dirty)
	l.dirty = l.dirty[:0]
	for _, b := range l.lent {
		b.Free(&l.q.Blocks)
	}
	clear(l.lent)
	l.lent = l.lent[:0]
	for i, w := range l.wakes {
		for ; w != 0; w &= w - 1 {
			l.srv.loops[i*64+bits.TrailingZeros64(w)].poll.Wake()
		}
		l.wakes[i] = 0
	}
}

// touch puts a connection on the list of those to be flushed when the turn ends.
func (l *loop) touch(c *conn) {
	if !c.dirty {
		l.expectFlush(c)
		c.dirty = true
		l.dirty = append(l.dirty, c)
	}
}

// lend keeps a block until the turn's queued frames no longer refer to it.
func (l *loop) lend(b *block.Block) { l.lent = append(l.lent, b) }

func (l *loop) snapshot() (Counters, netpoll.Stats) {
	n := l.n
	n.QueuedBytes = l.q.Held()
	return n, l.poll.Stats()
}

// shutdown says goodbye to everyone; the loop's Stop follows.
func (l *loop) shutdown() {
	l.stopping = true
	for _, c := range l.conns {
		if c != nil && c.phase != phaseDead {
			l.flush(c) // what was posted just now has not left yet
			l.end(c, EndShutdown)
		}
	}
	n, stats := l.snapshot()
	l.last.Store(&Snapshot{Counters: n, Loops: []netpoll.Stats{stats}})
}

// refusals limits log lines about what we refuse to one per reason and 10 s.
type refusals struct {
	next  [reasonCount]int64
	since [reasonCount]uint64
}

const refusalEvery = 10 * time.Second

// refusedLogins limits the log lines about logins, which an operator wants one by one: who was
// refused, and why. A flood of strangers is told of by its number.
type refusedLogins struct {
	until  int64 // the end of this span
	lines  int   // in it
	untold int   // beyond refusedLoginLines
}

// refusedLoginLines is how many refused logins a loop tells of in refusalEvery.
const refusedLoginLines = 20

// tellRefused logs a login that was refused.
func (l *loop) tellRefused(text string, who ...any) {
	r := &l.strangers
	if now := l.poll.Now(); now >= r.until {
		if r.untold > 0 {
			l.srv.log.Info("more logins were refused than are told", "more", r.untold)
		}
		*r = refusedLogins{until: now + int64(refusalEvery)}
	}
	if r.lines == refusedLoginLines {
		r.untold++
		return
	}
	r.lines++
	l.srv.log.Info(text, who...)
}

// refuse logs an end that an operator can do something about.
func (l *loop) refuse(c *conn, why Reason) {
	remedy := why.remedy()
	if remedy == "" {
		return
	}
	l.refused.since[why]++
	if now := l.poll.Now(); now >= l.refused.next[why] {
		l.srv.log.Warn("connection refused", "reason", why.String(), "remote", c.peer(),
			"times", l.refused.since[why], "remedy", remedy)
		l.refused.next[why] = now + int64(refusalEvery)
		l.refused.since[why] = 0
	}
}
