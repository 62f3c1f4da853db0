package looptest

import (
	"bytes"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"derpd/netpoll"
)

// patience is how long a scene waits for what must happen, on the rig's clock.
const patience = 10 * time.Second

// stage is one scene being played.
type stage struct {
	*testing.T
	rig  Rig
	loop *Checker // what handlers call
	rec  *recorder
}

// recorder is a handler that remembers. It and its content belong to the loop: scenes look
// at it in do and await only.
type recorder struct {
	conns      map[netpoll.Handle]*seen
	accepts    []netpoll.Handle
	log        []string     // of Woken and posted functions
	now        func() int64 // if set, what wokenAt is read from
	wokenAt    []int64
	wokenLast  atomic.Int64 // the last of wokenAt, for who must not Post
	onReceived func(h netpoll.Handle, b []byte)
	onFlush    func()
}

// seen is what was told about one connection.
type seen struct {
	remote    netip.AddrPort
	connected bool
	connErr   error
	data      []byte
	pieces    []int // sizes of Received
	fin       int   // times the end was told
	sent      int   // times Sent was told, with the last one's arguments
	sentBytes int
	sentErr   error
	closed    bool
	closedErr error
	timeouts  int
}

func (r *recorder) at(h netpoll.Handle) *seen {
	if r.conns[h] == nil {
		r.conns[h] = &seen{}
	}
	return r.conns[h]
}

func (r *recorder) Accepted(h netpoll.Handle, _ int, remote netip.AddrPort) {
	r.at(h).remote = remote
	r.accepts = append(r.accepts, h)
}

func (r *recorder) Connected(h netpoll.Handle, err error) {
	r.at(h).connected, r.at(h).connErr = true, err
}

func (r *recorder) Received(h netpoll.Handle, b []byte) {
	c := r.at(h)
	c.data = append(c.data, b...)
	if len(b) == 0 {
		c.fin++
	} else {
		c.pieces = append(c.pieces, len(b))
	}
	if r.onReceived != nil {
		r.onReceived(h, b)
	}
}

func (r *recorder) Sent(h netpoll.Handle, _ []byte, n int, err error) {
	c := r.at(h)
	c.sent, c.sentBytes, c.sentErr = c.sent+1, n, err
}

func (r *recorder) Closed(h netpoll.Handle, err error) {
	r.at(h).closed, r.at(h).closedErr = true, err
}

func (r *recorder) Timeout(h netpoll.Handle) { r.at(h).timeouts++ }

func (r *recorder) Woken() {
	r.log = append(r.log, "woken")
	if r.now != nil {
		r.wokenAt = append(r.wokenAt, r.now())
		r.wokenLast.Store(r.now())
	}
}

func (r *recorder) Flush() {
	if r.onFlush != nil {
		r.onFlush()
	}
}

// do runs fn on the loop and returns after it. fn must not end the test (Fatal).
func (s *stage) do(fn func()) {
	s.Helper()
	done := make(chan struct{})
	if !s.loop.Post(func() { defer close(done); fn() }) {
		s.Fatal("the loop has ended")
	}
	for until := s.rig.Clock() + patience; ; s.rig.Rest() {
		select {
		case <-done:
			return
		default:
		}
		if s.rig.Clock() > until {
			s.Fatal("a posted function does not run")
		}
	}
}

// await waits until cond, evaluated on the loop, holds.
func (s *stage) await(what string, cond func() bool) {
	s.Helper()
	until := s.rig.Clock() + patience
	for {
		var ok bool
		s.do(func() { ok = cond() })
		if ok {
			return
		}
		if s.rig.Clock() > until {
			s.Fatalf("waited in vain: %s", what)
		}
		s.rig.Rest()
	}
}

// pass lets d go by.
func (s *stage) pass(d time.Duration) {
	for until := s.rig.Clock() + d; s.rig.Clock() < until; {
		s.rig.Rest()
	}
}

// open makes one accepted connection.
func (s *stage) open() (netpoll.Handle, Far) {
	s.Helper()
	var before int
	s.do(func() { before = len(s.rec.accepts) })
	far := s.rig.Dial()
	s.await("Accepted", func() bool { return len(s.rec.accepts) > before })
	var h netpoll.Handle
	s.do(func() { h = s.rec.accepts[before] })
	return h, far
}

// expect reads from far until it has got want, and fails at the first difference.
func (s *stage) expect(far Far, want []byte) {
	s.Helper()
	got := 0
	for until := s.rig.Clock() + patience; got < len(want); {
		b := far.Read(1 << 20)
		if !bytes.HasPrefix(want[got:], b) {
			s.Fatalf("the far end got other bytes than were sent, after %d", got)
		}
		got += len(b)
		if len(b) == 0 {
			if s.rig.Clock() > until || far.Closed() {
				s.Fatalf("the far end got %d of %d bytes", got, len(want))
			}
			s.rig.Rest()
		}
	}
}

// expectEnd waits until the far end sees the end, with nothing more before it.
func (s *stage) expectEnd(far Far) {
	s.Helper()
	for until := s.rig.Clock() + patience; !far.Closed(); s.rig.Rest() {
		if b := far.Read(1 << 20); len(b) > 0 {
			s.Fatalf("%d bytes too many at the far end", len(b))
		}
		if s.rig.Clock() > until {
			s.Fatal("the far end never sees the end")
		}
	}
}

// block sends more than a far end takes that does not read, in one Send.
func (s *stage) block(h netpoll.Handle) []byte {
	s.Helper()
	b := pattern(1, s.rig.Plenty())
	s.do(func() {
		if s.loop.Send(h, b) {
			s.Errorf("%d bytes that nobody reads were taken at once", len(b))
		}
	})
	return b
}

// pattern is n bytes that differ by seed and place.
func pattern(seed, n int) []byte {
	b := make([]byte, n)
	x := uint32(seed)*2654435761 + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}
