package netpoll

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestEcho(t *testing.T) { eachEngine(t, testEcho) }

func testEcho(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
	}{
		{"defaults", Config{}},
		{"small arena", Config{ArenaBytes: 5000, ReceiveBytes: 1711}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEcho()
			conn := dial(t, runLoop(t, &e.probe, c.cfg))
			random := rand.New(rand.NewPCG(1, 2))
			data := make([]byte, 1<<20)
			for i := range data {
				data[i] = byte(random.Uint32())
			}
			go func() {
				for rest := data; len(rest) > 0; {
					n, err := conn.Write(rest[:min(1+random.IntN(7919), len(rest))])
					if err != nil {
						t.Error(err)
						return
					}
					rest = rest[n:]
				}
				conn.CloseWrite()
			}()
			got, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, data) {
				t.Fatalf("echo of %d bytes gave %d others", len(data), len(got))
			}
		})
	}
}

// After the peer's FIN, told once, the connection is still good for sending, and the loop
// sleeps although the socket stays readable.
func TestHalfClose(t *testing.T) { eachEngine(t, testHalfClose) }

func testHalfClose(t *testing.T) {
	ends := make(chan Handle, 10)
	p := &probe{}
	p.received = func(h Handle, b []byte) {
		if len(b) == 0 {
			ends <- h
		}
	}
	conn := dial(t, runLoop(t, p, Config{}))
	conn.CloseWrite()
	h := within(t, ends)
	mustSleep(t, p.loop)
	onLoop(t, p.loop, func() { p.loop.Send(h, []byte("late")) })
	mustRead(t, conn, "late")
	onLoop(t, p.loop, func() { p.loop.Close(h) })
	if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read after Close: %d, %v, want EOF", n, err)
	}
	if len(ends) != 0 {
		t.Error("FIN told more than once")
	}
}

// mustSleep fails if the loop does not go to sleep, that is, spins.
func mustSleep(t *testing.T, l Runner) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for wakerOf(l).state.Load() != asleep {
		if time.Now().After(deadline) {
			t.Fatal("the loop does not sleep")
		}
		time.Sleep(time.Millisecond)
	}
	var before, after Stats
	began := time.Now()
	onLoop(t, l, func() { before = l.Stats() })
	time.Sleep(20 * time.Millisecond) // to give a loop that spins the time to do so
	onLoop(t, l, func() { after = l.Stats() })
	most := uint64(5 + 2*time.Since(began)/acceptPauseMin) // accepting may be tried again meanwhile
	if turns := after.Turns - before.Turns; turns > most {
		t.Errorf("%d turns with nothing to do", turns)
	}
}

type sentEvent struct {
	h   Handle
	b   []byte
	n   int
	err error
}

// sendToSlow accepts a connection of a peer that does not read, and sends it more than the
// kernel takes.
func sendToSlow(t *testing.T, p *probe, writeTimeout time.Duration) (peer io.Reader, b []byte) {
	b = bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) {
		p.loop.SetWriteTimeout(h, writeTimeout)
		if p.loop.Send(h, b) {
			t.Errorf("the kernel took %d bytes that nobody reads", len(b))
		}
	}
	return dial(t, runLoop(t, p, Config{})), b
}

func TestSendToSlowReader(t *testing.T) { eachEngine(t, testSendToSlowReader) }

func testSendToSlowReader(t *testing.T) {
	sent := make(chan sentEvent, 2)
	p := &probe{}
	p.sent = func(h Handle, b []byte, n int, err error) { sent <- sentEvent{h, b, n, err} }
	peer, b := sendToSlow(t, p, 0)
	mustSleep(t, p.loop)
	select {
	case e := <-sent:
		t.Fatalf("Sent %d, %v before anything was read", e.n, e.err)
	default:
	}
	got := make([]byte, len(b))
	if _, err := io.ReadFull(peer, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b) {
		t.Error("other bytes came than were sent")
	}
	e := within(t, sent)
	if &e.b[0] != &b[0] || len(e.b) != len(b) || e.n != len(b) || e.err != nil {
		t.Errorf("Sent gave %d bytes, %d taken, %v", len(e.b), e.n, e.err)
	}
	mustSleep(t, p.loop)
	onLoop(t, p.loop, func() {
		if s := p.loop.Stats(); s.SendBlocked != 1 || s.SendBytes != uint64(len(b)) {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestWriteTimeout(t *testing.T) { eachEngine(t, testWriteTimeout) }

func testWriteTimeout(t *testing.T) {
	sent, closed := make(chan sentEvent, 2), make(chan error, 2)
	p := &probe{}
	p.sent = func(h Handle, b []byte, n int, err error) { sent <- sentEvent{h, b, n, err} }
	p.closed = func(_ Handle, err error) { closed <- err }
	begin := time.Now()
	_, b := sendToSlow(t, p, 150*time.Millisecond)
	e := within(t, sent)
	if e.err != ErrWriteTimeout || e.n <= 0 || e.n >= len(b) {
		t.Errorf("Sent %d of %d, %v", e.n, len(b), e.err)
	}
	if err := within(t, closed); err != ErrWriteTimeout {
		t.Errorf("Closed: %v", err)
	}
	if took := time.Since(begin); took < 150*time.Millisecond {
		t.Errorf("timed out after %v already", took)
	}
}

// dialNarrow connects with a receive buffer of a fixed size, so that the window follows what
// is read.
func dialNarrow(t *testing.T, addr netip.AddrPort, bytes int) *net.TCPConn {
	t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, bytes),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 1400)) // as on a real way
		})
		return errors.Join(err, failed)
	}}
	conn, err := dialer.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// The peer resets while a send is in flight: Sent with the error, then Closed.
func TestResetDuringSend(t *testing.T) { eachEngine(t, testResetDuringSend) }

func testResetDuringSend(t *testing.T) {
	sent, closed := make(chan sentEvent, 2), make(chan error, 2)
	p := &probe{}
	p.sent = func(h Handle, b []byte, n int, err error) {
		if len(closed) > 0 {
			t.Error("Sent after Closed")
		}
		sent <- sentEvent{h, b, n, err}
	}
	p.closed = func(_ Handle, err error) { closed <- err }
	peer, b := sendToSlow(t, p, 0)
	// Closing with bytes not read resets.
	peer.(io.Closer).Close()
	e := within(t, sent)
	if !isOneOf(e.err, unix.ECONNRESET, unix.EPIPE) || &e.b[0] != &b[0] || e.n >= len(b) {
		t.Errorf("Sent %d of %d, %v", e.n, len(b), e.err)
	}
	if err := within(t, closed); err != e.err {
		t.Errorf("Closed: %v, after Sent: %v", err, e.err)
	}
}

// A Send that fails at once says so after the method that called it, in the same turn.
func TestSendToResetConnection(t *testing.T) {
	var order []string
	done := make(chan []string, 1)
	p := &probe{}
	handles := make(chan Handle, 1)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) {
		p.loop.PauseReceive(h)
		handles <- h
	}
	p.sent = func(_ Handle, _ []byte, n int, err error) {
		order = append(order, "sent")
		if n != 0 || !isOneOf(err, unix.ECONNRESET, unix.EPIPE) {
			t.Errorf("Sent %d, %v", n, err)
		}
	}
	p.closed = func(_ Handle, err error) { order = append(order, "closed") }
	conn := dial(t, runLoop(t, p, Config{}))
	h := within(t, handles)
	onLoop(t, p.loop, func() {
		// The reset arrives while the loop is here, so that Send meets it first.
		conn.SetLinger(0)
		conn.Close()
		if p.loop.Send(h, []byte("into the void")) {
			t.Error("Send to a reset connection is true")
		}
		order = append(order, "returned")
		if !p.loop.Send(h, []byte("again")) {
			t.Error("Send after the failed one is false")
		}
		p.loop.Close(h)
		p.flush = func() {
			order = append(order, "flush")
			p.flush = nil
			done <- order
		}
	})
	want := []string{"returned", "sent", "closed", "flush"}
	if got := within(t, done); !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

// What a Flush causes is told right after it, and followed by a turn of its own.
func TestCloseInFlush(t *testing.T) { eachEngine(t, testCloseInFlush) }

func testCloseInFlush(t *testing.T) {
	var handle Handle
	events := make(chan string, 10)
	p := &probe{}
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) { handle = h }
	p.flush = func() {
		if handle != 0 {
			p.loop.Close(handle)
			handle = 0
			events <- "flush"
			p.flush = func() { events <- "flush again"; p.flush = nil }
		}
	}
	p.closed = func(Handle, error) { events <- "closed" }
	dial(t, runLoop(t, p, Config{}))
	for _, want := range []string{"flush", "closed", "flush again"} {
		if got := within(t, events); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// Send before Sent is a mistake of the handler's.
func TestSendTwicePanics(t *testing.T) { eachEngine(t, testSendTwicePanics) }

func testSendTwicePanics(t *testing.T) {
	panicked := make(chan any, 1)
	p := &probe{}
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) {
		defer func() { panicked <- recover() }()
		big := make([]byte, 16<<20)
		p.loop.Send(h, big)
		p.loop.Send(h, big)
	}
	dial(t, runLoop(t, p, Config{}))
	if within(t, panicked) == nil {
		t.Error("no panic")
	}
}

func TestPauseReceive(t *testing.T) { eachEngine(t, testPauseReceive) }

func testPauseReceive(t *testing.T) {
	var text string
	p := &probe{}
	handles, came := make(chan Handle, 1), make(chan string, 10)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) { handles <- h }
	p.received = func(h Handle, b []byte) {
		text += string(b)
		p.loop.PauseReceive(h)
		came <- text
	}
	conn := dial(t, runLoop(t, p, Config{}))
	h := within(t, handles)
	mustWrite(t, conn, "one")
	if got := within(t, came); got != "one" {
		t.Fatalf("received %q", got)
	}
	mustWrite(t, conn, "two")
	mustSleep(t, p.loop)
	if len(came) != 0 {
		t.Fatalf("received %q while paused", <-came)
	}
	onLoop(t, p.loop, func() { p.loop.ResumeReceive(h) })
	if got := within(t, came); got != "onetwo" {
		t.Fatalf("received %q", got)
	}
	// A pause that ends before anything arrives costs no system call, and does no harm.
	onLoop(t, p.loop, func() { p.loop.ResumeReceive(h); p.loop.PauseReceive(h) })
	onLoop(t, p.loop, func() { p.loop.ResumeReceive(h) })
	mustWrite(t, conn, "three")
	if got := within(t, came); got != "onetwothree" {
		t.Fatalf("received %q", got)
	}
}

// A reset is seen even while receiving is paused, or after a FIN; the loop does not spin.
func TestResetWhileHeld(t *testing.T) { eachEngine(t, testResetWhileHeld) }

func testResetWhileHeld(t *testing.T) {
	for _, c := range []struct {
		name string
		hold func(p *probe, h Handle)
		fin  bool
	}{
		{"paused", func(p *probe, h Handle) { p.loop.PauseReceive(h) }, false},
		{"after FIN", func(*probe, Handle) {}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &probe{}
			handles, fins, closed := make(chan Handle, 1), make(chan bool, 1), make(chan error, 1)
			p.accepted = func(h Handle, _ int, _ netip.AddrPort) { c.hold(p, h); handles <- h }
			p.received = func(_ Handle, b []byte) { fins <- len(b) == 0 }
			p.closed = func(_ Handle, err error) { closed <- err }
			conn := dial(t, runLoop(t, p, Config{}))
			h := within(t, handles)
			if c.fin {
				conn.CloseWrite()
				if !within(t, fins) {
					t.Fatal("bytes received, want FIN")
				}
				onLoop(t, p.loop, func() { p.loop.Send(h, []byte("not read: close will reset")) })
				mustRead(t, conn, "not")
			}
			conn.SetLinger(0)
			conn.Close()
			if _, ok := p.loop.(*Epoll); c.fin && !ok { // seen by sending only
				onLoop(t, p.loop, func() { p.loop.Send(h, []byte("into the void")) })
			}
			if err := within(t, closed); !isOneOf(err, unix.ECONNRESET, unix.EPIPE) {
				t.Errorf("Closed: %v", err)
			}
			mustSleep(t, p.loop)
		})
	}
}

// What was sent before a reset is received before Closed.
func TestBytesBeforeReset(t *testing.T) { eachEngine(t, testBytesBeforeReset) }

func testBytesBeforeReset(t *testing.T) {
	p := &probe{}
	var got int
	closed, hold := make(chan int, 1), make(chan Handle, 1)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) { hold <- h }
	p.received = func(_ Handle, b []byte) { got += len(b) }
	p.closed = func(_ Handle, err error) { closed <- got }
	conn := dial(t, runLoop(t, p, Config{ReceiveBytes: 100}))
	within(t, hold)
	onLoop(t, p.loop, func() {
		if _, err := conn.Write(make([]byte, 1000)); err != nil {
			t.Error(err)
		}
		conn.SetLinger(0)
		conn.Close()
	})
	if n := within(t, closed); n != 1000 {
		t.Errorf("received %d bytes of 1000 before Closed", n)
	}
}

// A turn gives each connection one share, gives no byte of the arena twice, and is cut when
// the arena is full; the rest comes first in the next turn.
func TestArenaCut(t *testing.T) {
	const conns, share = 8, 16 << 10
	p := &probe{}
	type piece struct {
		h    Handle
		b    []byte
		text byte
	}
	var turn []piece
	var count [256]int
	turns, total := 0, 0
	done := make(chan struct{})
	p.received = func(h Handle, b []byte) {
		if len(b) != share {
			t.Errorf("%d bytes received, want %d, or a cut", len(b), share)
		}
		if cap(b) != len(b) {
			t.Errorf("cap %d of %d bytes received reaches into the next", cap(b), len(b))
		}
		turn = append(turn, piece{h, b, b[0]})
		count[b[0]] += len(b)
		total += len(b)
	}
	p.flush = func() {
		seen := map[Handle]bool{}
		for _, r := range turn {
			if seen[r.h] {
				t.Errorf("two shares in one turn")
			}
			seen[r.h] = true
			if bytes.Count(r.b, []byte{r.text}) != len(r.b) {
				t.Error("bytes changed before Flush")
			}
			clear(r.b)
		}
		if len(turn) > 3 {
			t.Errorf("%d shares in an arena for 3", len(turn))
		}
		if len(turn) > 0 {
			turns++
		}
		turn = turn[:0]
		if total == conns*2*share {
			total++
			close(done)
		}
	}
	addr := makeLoop(t, p, Config{ArenaBytes: 3*share + 1000, ReceiveBytes: share})
	for i := range conns {
		conn := dial(t, addr)
		if _, err := conn.Write(bytes.Repeat([]byte{byte(i + 1)}, 2*share)); err != nil {
			t.Fatal(err)
		}
	}
	startLoop(t, p)
	within(t, done)
	for i := range conns {
		if count[i+1] != 2*share {
			t.Errorf("%d bytes of connection %d, want %d", count[i+1], i, 2*share)
		}
	}
	if turns < conns*2/3 {
		t.Errorf("%d turns, want at least %d", turns, conns*2/3)
	}
}

func TestSetReceiveMax(t *testing.T) { eachEngine(t, testSetReceiveMax) }

func testSetReceiveMax(t *testing.T) {
	p := &probe{}
	sizes := make(chan int, 100)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) { p.loop.SetReceiveMax(h, 10) }
	p.received = func(h Handle, b []byte) {
		sizes <- len(b)
		p.loop.SetReceiveMax(h, 0)
	}
	addr := makeLoop(t, p, Config{ReceiveBytes: 100})
	mustWrite(t, dial(t, addr), string(make([]byte, 150)))
	startLoop(t, p)
	if got := within(t, sizes); got != 10 {
		t.Errorf("received %d bytes first, want 10", got)
	}
	for rest := 140; rest > 0; {
		got := within(t, sizes)
		if got < min(rest, 50) || got > 100 { // the loop's own share, or half of it
			t.Errorf("received %d bytes of %d, want up to 100", got, rest)
		}
		rest -= got
	}
}
