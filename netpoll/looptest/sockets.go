package looptest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"derpd/netpoll"
)

// plentyBytes is far more than the largest buffers Linux gives both ends by default.
const plentyBytes = 16 << 20

// restDelay is how long a test leaves a real loop alone before it looks again.
const restDelay = 200 * time.Microsecond

// Sockets is a Rig with real sockets on loopback.
type Sockets struct {
	t       *testing.T
	loop    netpoll.Loop
	address netip.AddrPort
	run     func(netpoll.Handler) error
	begin   time.Time
	over    chan struct{} // closed when run has returned
}

// NewSockets makes a rig of a loop that listens on address; run is to run it until Stop.
func NewSockets(t *testing.T, loop netpoll.Loop, address netip.AddrPort,
	run func(netpoll.Handler) error) *Sockets {
	return &Sockets{t: t, loop: loop, address: address, run: run, begin: time.Now(),
		over: make(chan struct{})}
}

// Loop implements Rig.
func (r *Sockets) Loop() netpoll.Loop { return r.loop }

// Start implements Rig.
func (r *Sockets) Start(h netpoll.Handler) {
	go func() {
		defer close(r.over)
		if err := r.run(h); err != nil {
			r.t.Errorf("the loop ended with %v", err)
		}
	}()
}

// Dial implements Rig.
func (r *Sockets) Dial() Far {
	conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(r.address))
	if err != nil {
		r.t.Fatal(err)
	}
	return newSocket(r.t, conn)
}

// Serve implements Rig.
func (r *Sockets) Serve() (netip.AddrPort, func() Far) {
	ln, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { ln.Close() })
	return ln.Addr().(*net.TCPAddr).AddrPort(), func() Far {
		ln.SetDeadline(time.Now().Add(10 * time.Millisecond))
		conn, err := ln.AcceptTCP()
		if err != nil {
			return nil
		}
		return newSocket(r.t, conn)
	}
}

// Refuse implements Rig.
func (r *Sockets) Refuse() netip.AddrPort {
	ln, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		r.t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// Plenty implements Rig.
func (r *Sockets) Plenty() int { return plentyBytes }

// Rest implements Rig.
func (r *Sockets) Rest() { time.Sleep(restDelay) }

// Clock implements Rig.
func (r *Sockets) Clock() time.Duration { return time.Since(r.begin) }

// Ended implements Rig.
func (r *Sockets) Ended() bool {
	select {
	case <-r.over:
		return true
	case <-time.After(patience):
		return false
	}
}

// socket is a far end. Writes go through a goroutine of its own, since they may block.
type socket struct {
	conn *net.TCPConn
	buf  []byte

	mu     sync.Mutex
	ready  sync.Cond // more to write, or no more ever
	unsent bytes.Buffer
	fin    bool // CloseWrite after unsent
	gone   bool // the test is over

	closed, reset bool // what Read has found; the test's goroutine only
}

func newSocket(t *testing.T, conn *net.TCPConn) *socket {
	s := &socket{conn: conn, buf: make([]byte, 64<<10)}
	s.ready.L = &s.mu
	t.Cleanup(func() {
		conn.Close()
		s.mu.Lock()
		s.gone = true
		s.mu.Unlock()
		s.ready.Signal()
	})
	go s.writeAll()
	return s
}

// writeAll writes what Write leaves until the end.
func (s *socket) writeAll() {
	for {
		s.mu.Lock()
		for s.unsent.Len() == 0 && !s.fin && !s.gone {
			s.ready.Wait()
		}
		b := bytes.Clone(s.unsent.Bytes())
		s.unsent.Reset()
		gone := s.gone
		s.mu.Unlock()
		switch {
		case gone:
			return
		case len(b) == 0:
			// An error shows at the reading side, where the scene looks for it.
			_ = s.conn.CloseWrite()
			return
		}
		if _, err := s.conn.Write(b); err != nil {
			return
		}
	}
}

func (s *socket) Write(b []byte) {
	s.mu.Lock()
	s.unsent.Write(b)
	s.mu.Unlock()
	s.ready.Signal()
}

func (s *socket) CloseWrite() {
	s.mu.Lock()
	s.fin = true
	s.mu.Unlock()
	s.ready.Signal()
}

func (s *socket) Read(max int) []byte {
	if s.closed {
		return nil
	}
	// A deadline in the past would fail without looking.
	s.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	n, err := s.conn.Read(s.buf[:min(max, len(s.buf))])
	var timeout net.Error
	switch {
	case err == nil || errors.As(err, &timeout) && timeout.Timeout():
	default:
		s.closed = true
		s.reset = !errors.Is(err, io.EOF)
	}
	return bytes.Clone(s.buf[:n])
}

func (s *socket) Reset() {
	s.conn.SetLinger(0)
	s.conn.Close()
}

func (s *socket) Closed() bool { return s.closed }

func (s *socket) WasReset() bool { return s.reset }
