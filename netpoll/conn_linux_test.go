package netpoll

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A hundred thousand idle connections are what the machine pays for.
func TestConnSize(t *testing.T) {
	size := unsafe.Sizeof(conn{}) + timersPerConn*unsafe.Sizeof(timer{})
	if size > 64 {
		t.Errorf("a connection and its timers take %d bytes, want at most 64", size)
	}
}

func TestHandle(t *testing.T) {
	for _, c := range []struct {
		loop, slot int
		generation uint32
	}{{0, 0, 1}, {255, 1<<24 - 1, 1<<32 - 1}, {3, 70_000, 9}} {
		h := MakeHandle(c.loop, c.slot, c.generation)
		if h.Loop() != c.loop || h.Slot() != c.slot || h.Generation() != c.generation {
			t.Errorf("%+v gives %d, %d, %d", c, h.Loop(), h.Slot(), h.Generation())
		}
	}
}

// A slot is used again with another generation, and only after Closed; a handle that
// outlived its connection does nothing to the successor.
func TestStaleHandle(t *testing.T) { eachEngine(t, testStaleHandle) }

func testStaleHandle(t *testing.T) {
	p := &probe{}
	handles, closed := make(chan Handle, 1), make(chan Handle, 1)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) { handles <- h }
	p.closed = func(h Handle, _ error) { closed <- h }
	addr := runLoop(t, p, Config{})
	dial(t, addr)
	old := within(t, handles)
	onLoop(t, p.loop, func() {
		p.loop.Close(old)
		p.loop.Close(old)
		if _, err := p.loop.LocalAddr(old); err != ErrClosed {
			t.Errorf("LocalAddr after Close: %v", err)
		}
	})
	if h := within(t, closed); h != old {
		t.Fatalf("%x closed, want %x", h, old)
	}
	conn := dial(t, addr)
	h := within(t, handles)
	for range 3 * acceptsInFlight { // whose turn it is to get the slot is for the loop to say
		if h.Slot() == old.Slot() {
			break
		}
		onLoop(t, p.loop, func() { p.loop.Close(h) })
		within(t, closed)
		conn = dial(t, addr)
		h = within(t, handles)
	}
	if h.Slot() != old.Slot() || h.Generation() == old.Generation() || h.Loop() != 3 {
		t.Fatalf("handle %x after %x, want the same slot and another generation", h, old)
	}
	p.timeout = func(Handle) { t.Error("Timeout set by a stale handle") }
	onLoop(t, p.loop, func() {
		for _, stale := range []Handle{old, 0, MakeHandle(4, h.Slot(), h.Generation()),
			MakeHandle(3, 1<<24-1, 1)} {
			if !p.loop.Send(stale, []byte("stale")) {
				t.Error("Send to a stale handle is false")
			}
			p.loop.Close(stale)
			p.loop.Reset(stale)
			p.loop.PauseReceive(stale)
			p.loop.ResumeReceive(stale)
			p.loop.SetReceiveMax(stale, 1)
			p.loop.SetTimeout(stale, 1)
			p.loop.SetWriteTimeout(stale, 1)
		}
		if l, ok := p.loop.(*Epoll); ok { // an event reported before the slot changed hands
			l.connReady(int32(h.Slot()), old.Generation(), ^uint32(0))
		}
		p.loop.Send(h, []byte("well"))
	})
	mustRead(t, conn, "well")
	if len(closed) != 0 {
		t.Error("a stale handle closed the successor")
	}
}

func TestGenerationIsNeverZero(t *testing.T) {
	p := &probe{}
	handles := make(chan Handle, 1)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) { handles <- h; p.loop.Close(h) }
	addr := runLoop(t, p, Config{})
	dial(t, addr)
	h := within(t, handles)
	onLoop(t, p.loop, func() { p.loop.(*Epoll).at(int32(h.Slot())).generation = 1<<32 - 1 })
	for _, want := range []uint32{1<<32 - 1, 1} {
		dial(t, addr)
		if got := within(t, handles); got.Generation() != want {
			t.Errorf("generation %d, want %d", got.Generation(), want)
		}
	}
}

// Every handler method may close its own connection and others, and connect new ones.
func TestCloseInsideCallbacks(t *testing.T) { eachEngine(t, testCloseInsideCallbacks) }

func testCloseInsideCallbacks(t *testing.T) {
	for _, in := range []string{"Accepted", "Received", "FIN", "Sent", "Timeout", "Posted",
		"Woken", "Closed of another"} {
		t.Run(in, func(t *testing.T) {
			p := &probe{}
			var all []Handle
			closed := make(chan Handle, 10)
			closeAll := func(where string) {
				if where == in && len(all) == 2 {
					for _, h := range all {
						p.loop.Close(h)
					}
				}
			}
			p.accepted = func(h Handle, _ int, _ netip.AddrPort) {
				all = append(all, h)
				p.loop.SetTimeout(h, time.Millisecond)
				closeAll("Accepted")
				if len(all) == 2 && in == "Closed of another" {
					p.loop.Close(h)
				}
				if in == "Sent" {
					p.loop.Send(h, make([]byte, 8<<20))
				}
			}
			p.received = func(_ Handle, b []byte) {
				if len(b) > 0 {
					closeAll("Received")
				} else {
					closeAll("FIN")
				}
			}
			p.sent = func(_ Handle, _ []byte, _ int, err error) {
				if err != nil && err != ErrClosed {
					t.Errorf("Sent: %v", err)
				}
				closeAll("Sent")
			}
			p.timeout = func(h Handle) { closeAll("Timeout"); p.loop.SetTimeout(h, 1) }
			p.woken = func() { closeAll("Woken") }
			p.closed = func(h Handle, err error) {
				if err != nil {
					t.Errorf("Closed: %v", err)
				}
				closeAll("Closed of another")
				closed <- h
			}
			addr := runLoop(t, p, Config{})
			for range 2 {
				go feed(dial(t, addr))
			}
			for range 2 {
				for len(closed) == 0 && p.loop.Post(func() { closeAll("Posted") }) {
					time.Sleep(time.Millisecond)
				}
				within(t, closed)
			}
		})
	}
}

// feed sends a few bytes and a FIN, and takes all that comes.
func feed(conn *net.TCPConn) {
	conn.Write([]byte("some bytes"))
	conn.CloseWrite()
	b := make([]byte, 1<<20)
	for {
		if _, err := conn.Read(b); err != nil {
			return
		}
	}
}

func TestTimers(t *testing.T) { eachEngine(t, testTimers) }

func testTimers(t *testing.T) {
	p := &probe{}
	fired := make(chan Handle, 10)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) {
		p.loop.SetTimeout(h, time.Hour)
		p.loop.SetTimeout(h, 120*time.Millisecond)
	}
	p.timeout = func(h Handle) { fired <- h }
	addr := runLoop(t, p, Config{})
	begin := time.Now()
	dial(t, addr)
	h := within(t, fired)
	if took := time.Since(begin); took < 120*time.Millisecond {
		t.Errorf("fired early, after %v", took)
	}
	// Stopped by 0, and by Close.
	dial(t, addr)
	onLoop(t, p.loop, func() {
		p.loop.SetTimeout(h, 10*time.Millisecond)
		p.loop.SetTimeout(h, 0)
	})
	if other := within(t, fired); other == h {
		t.Error("a stopped timer fired")
	}
	onLoop(t, p.loop, func() {
		p.loop.SetTimeout(h, 10*time.Millisecond)
		p.loop.Close(h)
		if n := wheelOf(p.loop).armed; n != 0 {
			t.Errorf("%d timers armed after Close", n)
		}
	})
}

func TestNowIsShared(t *testing.T) {
	p, q := &probe{}, &probe{}
	runLoop(t, p, Config{})
	runLoop(t, q, Config{})
	var first, second, third int64
	onLoop(t, p.loop, func() { first = p.loop.Now() })
	onLoop(t, q.loop, func() { second = q.loop.Now() })
	onLoop(t, p.loop, func() { third = p.loop.Now() })
	if first <= 0 || second < first || third < second {
		t.Errorf("times of two loops: %d, %d, %d", first, second, third)
	}
}

func TestConnect(t *testing.T) { eachEngine(t, testConnect) }

func testConnect(t *testing.T) {
	refusing := mustListen(t, "127.0.0.1:0", 1, ListenOptions{})[0]
	closedPort := refusing.Addr()
	refusing.Close()
	remotes := make(chan netip.AddrPort, 1)
	e := newEcho()
	echoAccepted := e.accepted
	e.accepted = func(h Handle, i int, r netip.AddrPort) { echoAccepted(h, i, r); remotes <- r }
	server := runLoop(t, &e.probe, Config{})
	for _, c := range []struct {
		name          string
		local, remote netip.AddrPort
		err           error
	}{
		{"any source", netip.AddrPort{}, server, nil},
		{"source address", netip.MustParseAddrPort("127.0.0.5:0"), server, nil},
		{"v4-mapped", netip.AddrPort{}, netip.AddrPortFrom(
			netip.AddrFrom16(server.Addr().As16()), server.Port()), nil},
		{"refused", netip.AddrPort{}, closedPort, unix.ECONNREFUSED},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &probe{}
			got, results := make(chan string, 1), make(chan error, 1)
			p.connected = func(h Handle, err error) {
				if err == nil && !p.loop.Send(h, []byte("hello")) {
					t.Error("Send of a few bytes is false")
				}
				results <- err
			}
			p.received = func(_ Handle, b []byte) { got <- string(b) }
			runLoop(t, p, Config{})
			var local netip.AddrPort
			var h Handle
			onLoop(t, p.loop, func() {
				var err error
				if h, err = p.loop.Connect(c.local, c.remote); err != nil {
					t.Error(err)
				}
			})
			if err := within(t, results); err != c.err {
				t.Fatalf("Connected: %v, want %v", err, c.err)
			}
			if c.err != nil {
				onLoop(t, p.loop, func() {
					if n := p.loop.Stats().Connections; n != 0 {
						t.Errorf("%d connections after a failed Connect", n)
					}
				})
				return
			}
			onLoop(t, p.loop, func() {
				var err error
				if local, err = p.loop.LocalAddr(h); err != nil {
					t.Error(err)
				}
			})
			if s := within(t, got); s != "hello" {
				t.Errorf("echo %q", s)
			}
			remote := within(t, remotes)
			if remote != local || c.local.IsValid() && remote.Addr() != c.local.Addr() {
				t.Errorf("connected from %v, seen as %v, wanted %v", local, remote, c.local)
			}
		})
	}
}

func TestConnectIPv6(t *testing.T) { eachEngine(t, testConnectIPv6) }

func testConnectIPv6(t *testing.T) {
	listeners, err := Listen(netip.MustParseAddrPort("[::1]:0"), 1, ListenOptions{})
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	p := &probe{}
	remotes := make(chan netip.AddrPort, 1)
	p.accepted = func(_ Handle, _ int, remote netip.AddrPort) { remotes <- remote }
	addr := runLoop(t, p, Config{Listeners: listeners})
	onLoop(t, p.loop, func() {
		if _, err := p.loop.Connect(netip.MustParseAddrPort("[::1]:0"), addr); err != nil {
			t.Error(err)
		}
	})
	if remote := within(t, remotes); remote.Addr() != addr.Addr() || remote == addr {
		t.Errorf("connected from %v to %v", remote, addr)
	}
}

func TestConnectErrors(t *testing.T) { eachEngine(t, testConnectErrors) }

func testConnectErrors(t *testing.T) {
	p := &probe{}
	runLoop(t, p, Config{MaxConns: 1})
	v4 := netip.MustParseAddrPort("127.0.0.1:9")
	onLoop(t, p.loop, func() {
		for _, c := range []struct {
			local, remote string
			want          string
		}{
			{"[::1]:0", "127.0.0.1:9", "other IP version"},
			{"192.0.2.77:0", "127.0.0.1:9", "192.0.2.77"},
			{"127.0.0.1:0", "[fe80::1%no-such]:9", "no-such"},
		} {
			_, err := p.loop.Connect(netip.MustParseAddrPort(c.local),
				netip.MustParseAddrPort(c.remote))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("from %s to %s: %v, want %q", c.local, c.remote, err, c.want)
			}
		}
		if _, err := p.loop.Connect(netip.AddrPort{}, netip.AddrPort{}); err == nil {
			t.Error("Connect to nowhere is no error")
		}
		if _, err := p.loop.Connect(netip.AddrPort{}, v4); err != nil {
			t.Error(err)
		}
		if _, err := p.loop.Connect(netip.AddrPort{}, v4); err != ErrTooMany {
			t.Errorf("beyond MaxConns: %v", err)
		}
	})
}

// The loop's tables of unfinished business are settled by Close: a Connect by Connected, and
// a Send that was given before it by Sent.
func TestCloseWhileConnecting(t *testing.T) { eachEngine(t, testCloseWhileConnecting) }

func testCloseWhileConnecting(t *testing.T) {
	listener := mustListen(t, "127.0.0.1:0", 1, ListenOptions{})[0]
	t.Cleanup(func() { listener.Close() })
	p := &probe{}
	var order []string
	done := make(chan struct{})
	p.sent = func(_ Handle, b []byte, n int, err error) {
		order = append(order, "sent "+err.Error())
		if n != 0 || len(b) != 5 {
			t.Errorf("Sent %d of %d", n, len(b))
		}
	}
	p.connected = func(_ Handle, err error) {
		order = append(order, "connected "+err.Error())
		close(done)
	}
	runLoop(t, p, Config{})
	onLoop(t, p.loop, func() {
		h, err := p.loop.Connect(netip.AddrPort{}, listener.Addr())
		if err != nil {
			t.Error(err)
		}
		if p.loop.Send(h, []byte("early")) {
			t.Error("Send before Connected is true")
		}
		p.loop.Close(h)
	})
	within(t, done)
	want := []string{"sent " + ErrClosed.Error(), "connected " + ErrClosed.Error()}
	if !slices.Equal(order, want) {
		t.Errorf("%q, want %q", order, want)
	}
}

// A Send given before Connected leaves after it.
func TestSendWhileConnecting(t *testing.T) { eachEngine(t, testSendWhileConnecting) }

func testSendWhileConnecting(t *testing.T) {
	e := newEcho()
	server := runLoop(t, &e.probe, Config{})
	p := &probe{}
	events := make(chan string, 4)
	p.connected = func(_ Handle, err error) { events <- "connected" }
	p.sent = func(_ Handle, b []byte, n int, err error) { events <- "sent " + string(b[:n]) }
	p.received = func(_ Handle, b []byte) { events <- "received " + string(b) }
	runLoop(t, p, Config{})
	onLoop(t, p.loop, func() {
		h, err := p.loop.Connect(netip.AddrPort{}, server)
		if err != nil || p.loop.Send(h, []byte("early")) {
			t.Errorf("Connect: %v, or Send was true", err)
		}
	})
	for _, want := range []string{"connected", "sent early", "received early"} {
		if got := within(t, events); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// Reset sends a RST.
func TestReset(t *testing.T) { eachEngine(t, testReset) }

func testReset(t *testing.T) {
	p := &probe{}
	handles := make(chan Handle, 1)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) { handles <- h }
	conn := dial(t, runLoop(t, p, Config{}))
	h := within(t, handles)
	onLoop(t, p.loop, func() { p.loop.Reset(h) })
	if _, err := conn.Read(make([]byte, 1)); !isOneOf(err, unix.ECONNRESET) {
		t.Errorf("read after Reset: %v", err)
	}
}

// Stop ends all: connections of every kind, sends in flight, posted functions.
func TestStop(t *testing.T) { eachEngine(t, testStop) }

func testStop(t *testing.T) {
	silent := mustListen(t, "127.0.0.1:0", 1, ListenOptions{})[0]
	t.Cleanup(func() { silent.Close() })
	p := &probe{}
	var order []string
	handles := make(chan Handle, 2)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) {
		if len(p.known) == 2 {
			p.loop.Send(h, make([]byte, 16<<20))
		}
		handles <- h
	}
	p.sent = func(_ Handle, _ []byte, _ int, err error) { order = append(order, "sent", err.Error()) }
	p.closed = func(_ Handle, err error) {
		order = append(order, "closed", err.Error())
		p.loop.Post(func() { order = append(order, "posted") })
	}
	p.connected = func(_ Handle, err error) { order = append(order, "connected", err.Error()) }
	addr := makeLoop(t, p, Config{})
	ended := make(chan error, 1)
	go func() { ended <- p.loop.Run(p) }()
	dial(t, addr)
	within(t, handles)
	dial(t, addr)
	within(t, handles)
	onLoop(t, p.loop, func() {
		p.loop.Stop()
		if _, err := p.loop.Connect(netip.AddrPort{}, silent.Addr()); err != ErrStopped {
			t.Errorf("Connect after Stop: %v", err)
		}
	})
	if err := within(t, ended); err != nil {
		t.Fatal(err)
	}
	s := ErrStopped.Error()
	first := []string{"sent", s, "closed", s, "closed", s, "posted", "posted"} // the one that sends
	second := []string{"closed", s, "sent", s, "closed", s, "posted", "posted"}
	if !slices.Equal(order, first) && !slices.Equal(order, second) {
		t.Errorf("%q, want %q or %q", order, first, second)
	}
	if p.loop.Post(func() {}) {
		t.Error("Post after the end is true")
	}
	p.loop.Wake()
	p.loop.Stop()
	if err := p.loop.Run(p); err != ErrStopped {
		t.Errorf("second Run: %v", err)
	}
	if _, err := net.DialTimeout("tcp", addr.String(), patience); err == nil {
		t.Error("the listener is still open")
	}
}

// No descriptor is left behind by anything the tests above do.
func TestNoDescriptorLeaks(t *testing.T) { eachEngine(t, testNoDescriptorLeaks) }

func testNoDescriptorLeaks(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	cycle := func() {
		p := &probe{}
		addr := makeLoop(t, p, Config{})
		ended := make(chan error, 1)
		handles := make(chan Handle, 1)
		p.accepted = func(h Handle, _ int, _ netip.AddrPort) {
			if _, err := p.loop.LocalAddr(h); err != nil {
				t.Error(err)
			}
			handles <- h
		}
		go func() { ended <- p.loop.Run(p) }()
		conn := dial(t, addr)
		within(t, handles)
		onLoop(t, p.loop, func() {
			for _, to := range []netip.AddrPort{addr, netip.MustParseAddrPort("127.0.0.1:1")} {
				if _, err := p.loop.Connect(netip.AddrPort{}, to); err != nil {
					t.Error(err)
				}
			}
		})
		p.loop.Stop()
		within(t, ended)
		conn.Close()
	}
	cycle() // what the runtime opens once
	before := count()
	for range 5 {
		cycle()
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
}

// The kernel has measured a connection over loopback from its handshake on.
func TestRoundTrip(t *testing.T) {
	p := &probe{}
	handles := make(chan Handle, 1)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) { handles <- h }
	dial(t, runLoop(t, p, Config{}))
	h := within(t, handles)
	onLoop(t, p.loop, func() {
		if rtt, ok := p.loop.RoundTrip(h); !ok || rtt <= 0 || rtt > time.Second {
			t.Errorf("RoundTrip: %v, %v", rtt, ok)
		}
		p.loop.Close(h)
		if _, ok := p.loop.RoundTrip(h); ok {
			t.Error("RoundTrip of a connection that has ended")
		}
	})
}
