package netpoll

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen, on a machine that is busy.
const patience = 30 * time.Second

// probe is a handler whose methods a test may replace. It checks what every handler may
// rely on: the order of the events of a connection, and one Flush a turn.
type probe struct {
	t    *testing.T
	loop Runner

	accepted  func(h Handle, listener int, remote netip.AddrPort)
	connected func(h Handle, err error)
	received  func(h Handle, b []byte)
	sent      func(h Handle, b []byte, n int, err error)
	closed    func(h Handle, err error)
	timeout   func(h Handle)
	woken     func()
	flush     func()

	inside  bool            // a method is running
	known   map[Handle]bool // open; false: ended with Sent or after FIN
	flushes uint64
}

func (p *probe) enter(name string) func() {
	if p.inside {
		p.t.Errorf("%s called from inside another method", name)
	}
	p.inside = true
	return func() { p.inside = false }
}

func (p *probe) mustKnow(name string, h Handle) {
	if !p.known[h] {
		p.t.Errorf("%s(%x) of a connection that is not open", name, h)
	}
}

func (p *probe) Accepted(h Handle, listener int, remote netip.AddrPort) {
	defer p.enter("Accepted")()
	if p.known[h] {
		p.t.Errorf("handle %x used twice", h)
	}
	p.known[h] = true
	if p.accepted != nil {
		p.accepted(h, listener, remote)
	}
}

func (p *probe) Connected(h Handle, err error) {
	defer p.enter("Connected")()
	if err == nil {
		p.known[h] = true
	}
	if p.connected != nil {
		p.connected(h, err)
	}
}

func (p *probe) Received(h Handle, b []byte) {
	defer p.enter("Received")()
	p.mustKnow("Received", h)
	if p.received != nil {
		p.received(h, b)
	}
}

func (p *probe) Sent(h Handle, b []byte, n int, err error) {
	defer p.enter("Sent")()
	if p.sent != nil {
		p.sent(h, b, n, err)
	}
}

func (p *probe) Closed(h Handle, err error) {
	defer p.enter("Closed")()
	p.mustKnow("Closed", h)
	delete(p.known, h)
	if p.closed != nil {
		p.closed(h, err)
	}
}

func (p *probe) Timeout(h Handle) {
	defer p.enter("Timeout")()
	if p.timeout != nil {
		p.timeout(h)
	}
}

func (p *probe) Woken() {
	defer p.enter("Woken")()
	if p.woken != nil {
		p.woken()
	}
}

func (p *probe) Flush() {
	defer p.enter("Flush")()
	p.flushes++
	if p.flush != nil {
		p.flush()
	}
}

// runLoop makes a loop with one listener on 127.0.0.1 and runs it until the test ends.
func runLoop(t *testing.T, p *probe, cfg Config) netip.AddrPort {
	t.Helper()
	addr := makeLoop(t, p, cfg)
	startLoop(t, p)
	return addr
}

func makeLoop(t *testing.T, p *probe, cfg Config) netip.AddrPort {
	t.Helper()
	if cfg.Listeners == nil {
		cfg.Listeners = mustListen(t, "127.0.0.1:0", 1, ListenOptions{})
	}
	loop, err := newLoop(t, 3, cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.t, p.loop, p.known = t, loop, map[Handle]bool{}
	return cfg.Listeners[0].Addr()
}

func startLoop(t *testing.T, p *probe) {
	ended := make(chan error, 1)
	go func() { ended <- p.loop.Run(p) }()
	t.Cleanup(func() {
		p.loop.Stop()
		if err := within(t, ended); err != nil {
			t.Errorf("Run: %v", err)
		}
		if len(p.known) != 0 {
			t.Errorf("%d connections never closed", len(p.known))
		}
		if s := p.loop.Stats(); s.Connections != 0 {
			t.Errorf("%d connections counted after the end", s.Connections)
		}
	})
}

func mustListen(t testing.TB, addr string, n int, opt ListenOptions) []*Listener {
	t.Helper()
	listeners, err := Listen(netip.MustParseAddrPort(addr), n, opt)
	if err != nil {
		t.Fatal(err)
	}
	return listeners
}

// within receives from a channel, or fails the test when that takes too long.
func within[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("timed out")
		panic("not reached")
	}
}

// onLoop runs fn on the loop and waits for it.
func onLoop(t testing.TB, l Loop, fn func()) {
	t.Helper()
	done := make(chan struct{})
	if !l.Post(func() { fn(); close(done) }) {
		t.Fatal("the loop has ended")
	}
	within(t, done)
}

// dial connects with an ordinary socket that the test's end closes.
func dial(t testing.TB, addr netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

func mustWrite(t testing.TB, c io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t testing.TB, c io.Reader, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("read %q, %v, want %q", b, err, want)
	}
}

// echo sends what it receives, and pauses receiving while a send is in flight.
type echo struct {
	probe
	states map[Handle]*echoState
}

type echoState struct {
	pending []byte
	busy    bool
	fin     bool
}

func newEcho() *echo {
	e := &echo{states: map[Handle]*echoState{}}
	e.accepted = func(h Handle, _ int, _ netip.AddrPort) { e.states[h] = &echoState{} }
	e.received = func(h Handle, b []byte) {
		s := e.states[h]
		if len(b) == 0 {
			s.fin = true
		}
		s.pending = append(s.pending, b...)
	}
	e.sent = func(h Handle, b []byte, n int, err error) {
		if err == nil && n != len(b) {
			e.t.Errorf("Sent %d of %d bytes without an error", n, len(b))
		}
		if s := e.states[h]; err == nil {
			s.busy = false
			e.loop.ResumeReceive(h)
		}
	}
	e.closed = func(h Handle, _ error) { delete(e.states, h) }
	e.flush = func() {
		for h, s := range e.states {
			e.flushOne(h, s)
		}
	}
	return e
}

func (e *echo) flushOne(h Handle, s *echoState) {
	if s.busy {
		return
	}
	if len(s.pending) > 0 {
		b := s.pending
		s.pending = nil
		if !e.loop.Send(h, b) {
			s.busy = true
			e.loop.PauseReceive(h)
			return
		}
	}
	if s.fin {
		e.loop.Close(h)
	}
}

// isOneOf tells whether err is among those a race in the kernel allows.
func isOneOf(err error, allowed ...error) bool {
	for _, a := range allowed {
		if errors.Is(err, a) {
			return true
		}
	}
	return false
}
