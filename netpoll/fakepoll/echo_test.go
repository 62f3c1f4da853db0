package fakepoll_test

import (
	"net/netip"
	"testing"
	"time"

	"derpd/netpoll"
	"derpd/netpoll/fakepoll"
	"derpd/netpoll/looptest"
)

// echo sends back what it receives, with two buffers a connection: one in flight, one that
// gathers. It stops receiving while much is waiting, and closes after the peer's FIN.
type echo struct {
	loop  netpoll.Loop
	conns []*echoConn // by slot
	dirty []*echoConn // have something to send at Flush
	taken map[netpoll.Handle]int
	errs  map[netpoll.Handle]error // of Closed
	idle  time.Duration            // SetTimeout of a connection; 0: none
}

type echoConn struct {
	h        netpoll.Handle
	waiting  []byte
	spare    []byte
	inFlight bool
	paused   bool
	fin      bool
	listed   bool
}

const (
	echoPauseBytes  = 8 << 10
	echoResumeBytes = 2 << 10
)

func newEcho(loop netpoll.Loop) *echo {
	return &echo{
		loop:  loop,
		taken: make(map[netpoll.Handle]int),
		errs:  make(map[netpoll.Handle]error),
	}
}

func (e *echo) open(h netpoll.Handle) *echoConn {
	for len(e.conns) <= h.Slot() {
		e.conns = append(e.conns, nil)
	}
	c := &echoConn{h: h}
	e.conns[h.Slot()] = c
	return c
}

func (e *echo) list(c *echoConn) {
	if !c.listed {
		c.listed = true
		e.dirty = append(e.dirty, c)
	}
}

func (e *echo) Accepted(h netpoll.Handle, _ int, _ netip.AddrPort) {
	e.open(h)
	if e.idle > 0 {
		e.loop.SetTimeout(h, e.idle)
	}
}

func (e *echo) Connected(netpoll.Handle, error) {}

func (e *echo) Received(h netpoll.Handle, b []byte) {
	c := e.conns[h.Slot()]
	if len(b) == 0 {
		c.fin = true
	}
	c.waiting = append(c.waiting, b...)
	if len(c.waiting) > echoPauseBytes && !c.paused {
		c.paused = true
		e.loop.PauseReceive(h)
	}
	if e.idle > 0 {
		e.loop.SetTimeout(h, e.idle)
	}
	e.list(c)
}

func (e *echo) Sent(h netpoll.Handle, b []byte, n int, _ error) {
	e.taken[h] += n
	c := e.conns[h.Slot()]
	c.inFlight = false
	for i := range b {
		b[i] = 0xEE // ours again: whoever still reads it gets this
	}
	c.spare = b[:0]
	e.list(c)
}

func (e *echo) Closed(h netpoll.Handle, err error) {
	e.errs[h] = err
	e.conns[h.Slot()].h = 0
	e.conns[h.Slot()] = nil
}

func (e *echo) Timeout(h netpoll.Handle) { e.loop.Reset(h) }

func (e *echo) Woken() {}

func (e *echo) Flush() {
	for _, c := range e.dirty {
		c.listed = false
		if c.h != 0 && !c.inFlight {
			e.send(c)
		}
	}
	e.dirty = e.dirty[:0]
}

func (e *echo) send(c *echoConn) {
	b := c.waiting
	if len(b) > 0 {
		if e.loop.Send(c.h, b) {
			e.taken[c.h] += len(b)
			c.waiting = b[:0]
		} else {
			c.inFlight = true
			c.waiting = c.spare[:0]
			c.spare = nil
		}
	}
	if c.paused && len(c.waiting) < echoResumeBytes {
		c.paused = false
		e.loop.ResumeReceive(c.h)
	}
	if c.fin && !c.inFlight && len(c.waiting) == 0 {
		e.loop.Close(c.h)
	}
}

// stage is a world with one loop that echoes, watched by a Checker.
type stage struct {
	w     *fakepoll.World
	loop  *fakepoll.Loop
	check *looptest.Checker
	echo  *echo
}

func newStage(t *testing.T, seed uint64, f fakepoll.Faults, arenaBytes int) *stage {
	t.Helper()
	w := fakepoll.New(seed, f)
	s := &stage{w: w, loop: w.Loop(3, arenaBytes)}
	s.check = looptest.NewChecker(s.loop, w.Violation)
	s.echo = newEcho(s.check)
	s.check.Attach(s.echo)
	w.Attach(s.loop, s.check)
	return s
}

// finish stops the loop and fails the test for every violation.
func (s *stage) finish(t *testing.T, seed uint64) {
	t.Helper()
	s.check.Stop()
	for i := 0; s.w.Step(); i++ {
		if i > 10_000 {
			t.Fatalf("seed %d: the world does not come to rest after Stop", seed)
		}
	}
	s.check.Finish()
	for _, v := range s.w.Violations() {
		t.Errorf("seed %d: %s", seed, v)
	}
	if n := s.w.Stats(s.loop).Connections; n != 0 {
		t.Errorf("seed %d: %d connections after Stop", seed, n)
	}
}

func addr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), uint16(1024+i))
}
