package netpoll

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// n sockets share one address, every loop gets connections, and each says which listener of
// its own they came from.
func TestListenersShare(t *testing.T) {
	const loops, conns = 3, 60
	listeners := mustListen(t, "127.0.0.1:0", loops, ListenOptions{})
	other := mustListen(t, "127.0.0.1:0", loops, ListenOptions{})
	var mu sync.Mutex
	count := map[string]int{}
	for i := range loops {
		if listeners[i].Addr() != listeners[0].Addr() || listeners[i].Addr().Port() == 0 {
			t.Fatalf("listener %d is at %v, the first at %v", i, listeners[i].Addr(),
				listeners[0].Addr())
		}
		p := &probe{}
		p.accepted = func(_ Handle, listener int, _ netip.AddrPort) {
			mu.Lock()
			defer mu.Unlock()
			count[fmt.Sprintf("loop %d listener %d", i, listener)]++
		}
		runLoop(t, p, Config{Listeners: []*Listener{other[i], listeners[i]}})
	}
	for range conns {
		dial(t, listeners[0].Addr())
		dial(t, other[0].Addr())
	}
	deadline := time.Now().Add(patience)
	for sum := 0; sum < 2*conns; {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d accepted", sum, 2*conns)
		}
		time.Sleep(time.Millisecond)
		mu.Lock()
		sum = 0
		for _, n := range count {
			sum += n
		}
		mu.Unlock()
	}
	if len(count) != 2*loops {
		t.Errorf("accepted by %v, want all of %d loops and 2 listeners", count, loops)
	}
}

const (
	envListen = "NETPOLL_TEST_LISTEN"
	envFiles  = "NETPOLL_TEST_FILES"
	// envEmulated is set by make test-arm64.
	envEmulated = "TEST_EMULATED"
)

// TestMain makes the test binary the second process of some tests.
func TestMain(m *testing.M) {
	if addr := os.Getenv(envListen); addr != "" {
		_, err := Listen(netip.MustParseAddrPort(addr), 2, ListenOptions{})
		fmt.Println(err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A port in use is an error, for this process and for another one that shares likewise.
func TestListenInUse(t *testing.T) {
	for _, n := range []int{1, 2} {
		listeners := mustListen(t, "127.0.0.1:0", n, ListenOptions{})
		addr := listeners[0].Addr()
		_, err := Listen(addr, 2, ListenOptions{})
		if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), addr.String()) {
			t.Errorf("%d listeners: second Listen: %v", n, err)
		}
		if os.Getenv(envEmulated) != "" {
			t.Skip("emulated: the system cannot execute this binary once more")
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envListen+"="+addr.String())
		out, err := cmd.Output()
		if err != nil || !bytes.Contains(out, []byte("address already in use")) {
			t.Errorf("%d listeners: another process: %s, %v", n, out, err)
		}
		for _, l := range listeners {
			if err := errors.Join(l.Close(), l.Close()); err != nil || l.FD() != -1 {
				t.Errorf("Close twice: %v, FD %d", err, l.FD())
			}
		}
		again := mustListen(t, addr.String(), n, ListenOptions{})
		for _, l := range again {
			l.Close()
		}
	}
}

// Of two processes that begin at the same moment, and are both past bind before either
// listens, one gets the port.
func TestListenTogether(t *testing.T) {
	addr := netip.MustParseAddrPort("127.0.0.1:0")
	var fds [2]int
	for i := range fds {
		fd, err := bound(addr, ListenOptions{}, false)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if addr, err = localAddrOf(int32(fd)); err != nil {
			t.Fatal(err)
		}
		fds[i] = fd
	}
	if err := claim(fds[0]); err != nil {
		t.Errorf("the first to listen: %v", err)
	}
	if err := claim(fds[1]); err != unix.EADDRINUSE {
		t.Errorf("the second to listen: %v, want EADDRINUSE", err)
	}
}

func TestListenErrors(t *testing.T) {
	for _, c := range []struct {
		name, addr string
		n          int
		want       string
	}{
		{"no such address", "192.0.2.77:0", 1, "no interface of this machine"},
		{"no listeners", "127.0.0.1:0", 0, "1 to 256"},
		{"too many listeners", "127.0.0.1:0", 257, "1 to 256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Listen(netip.MustParseAddrPort(c.addr), c.n, ListenOptions{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if _, err := Listen(netip.AddrPort{}, 1, ListenOptions{}); err == nil {
		t.Error("no address is no error")
	}
	err := listenError(netip.MustParseAddrPort("0.0.0.0:443"), unix.EACCES)
	if !strings.Contains(err.Error(), "CAP_NET_BIND_SERVICE") {
		t.Errorf("EACCES: %v", err)
	}
}

// An unspecified IPv6 address takes both; an IPv4 peer is told by its IPv4 address.
func TestDualStack(t *testing.T) { eachEngine(t, testDualStack) }

func testDualStack(t *testing.T) {
	remotes := make(chan netip.AddrPort, 1)
	p := &probe{}
	p.accepted = func(_ Handle, _ int, remote netip.AddrPort) { remotes <- remote }
	listeners := mustListen(t, "[::]:0", 1, ListenOptions{})
	port := runLoop(t, p, Config{Listeners: listeners}).Port()
	for _, addr := range []string{"127.0.0.1", "::1"} {
		ip := netip.MustParseAddr(addr)
		if ip.Is6() && listeners[0].Addr().Addr().Is4() {
			t.Log("no IPv6 here")
			continue
		}
		local := dial(t, netip.AddrPortFrom(ip, port)).LocalAddr().(*net.TCPAddr).AddrPort()
		if got := within(t, remotes); got != local {
			t.Errorf("remote address %v, want %v", got, local)
		}
	}
}

// What is set on the listener is inherited by what it accepts; Connect sets the same.
func TestOptions(t *testing.T) { eachEngine(t, testOptions) }

func testOptions(t *testing.T) {
	opt := ListenOptions{UserTimeout: 17 * time.Second, KeepAlive: 41500 * time.Millisecond}
	p := &probe{}
	handles := make(chan Handle, 2)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) { handles <- h }
	p.connected = func(h Handle, err error) { handles <- h }
	addr := runLoop(t, p, Config{
		Listeners:   mustListen(t, "127.0.0.1:0", 1, opt),
		UserTimeout: opt.UserTimeout,
		KeepAlive:   opt.KeepAlive,
	})
	onLoop(t, p.loop, func() {
		if _, err := p.loop.Connect(netip.AddrPort{}, addr); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		h := within(t, handles)
		onLoop(t, p.loop, func() { withSocket(t, p.loop, h, func(fd int) { checkOptions(t, fd) }) })
	}
}

func checkOptions(t *testing.T, fd int) {
	for _, c := range []struct {
		name               string
		level, which, want int
	}{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{"TCP_NOTSENT_LOWAT", unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytesMax},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 17000},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 42},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
	} {
		if got, err := unix.GetsockoptInt(fd, c.level, c.which); err != nil || got != c.want {
			t.Errorf("%s is %d, %v, want %d", c.name, got, err, c.want)
		}
	}
}

// A full table closes what comes more, says so once, and recovers.
func TestTableFull(t *testing.T) { eachEngine(t, testTableFull) }

func testTableFull(t *testing.T) {
	var log lockedBuffer
	p := &probe{}
	handles := make(chan Handle, 10)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) { handles <- h }
	closed := make(chan Handle, 10)
	p.closed = func(h Handle, _ error) { closed <- h }
	addr := runLoop(t, p, Config{MaxConns: 2, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	dial(t, addr)
	dial(t, addr)
	h := within(t, handles)
	within(t, handles)
	for range 3 {
		if n, err := dial(t, addr).Read(make([]byte, 1)); err == nil {
			t.Errorf("read %d bytes of a connection too many", n)
		}
	}
	onLoop(t, p.loop, func() {
		if s := p.loop.Stats(); s.AcceptsFull != 3 || s.Connections != 2 || s.Accepts != 2 {
			t.Errorf("stats %+v", s)
		}
		p.loop.Close(h)
	})
	within(t, closed) // its place is taken until then
	dial(t, addr)
	within(t, handles)
	if n := strings.Count(log.String(), "more loops hold more"); n != 1 {
		t.Errorf("said %d times, want once: %s", n, log.String())
	}
}

// lockedBuffer collects log lines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Without descriptors accepting rests, established connections go on, and when there are
// descriptors again the connections that waited are accepted. It lowers the limit of open
// files, and so has a process of its own.
func TestAcceptWithoutDescriptors(t *testing.T) {
	if os.Getenv(envFiles) == "" {
		if os.Getenv(envEmulated) != "" {
			t.Skip("emulated: the system cannot execute this binary once more")
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestAcceptWithoutDescriptors$",
			"-test.timeout=60s")
		cmd.Env = append(os.Environ(), envFiles+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	var log lockedBuffer
	e := newEcho()
	accepted := make(chan Handle, 10)
	inner := e.accepted
	e.accepted = func(h Handle, i int, r netip.AddrPort) { inner(h, i, r); accepted <- h }
	addr := runLoop(t, &e.probe, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	first := dial(t, addr)
	within(t, accepted)
	waiting := make([]*net.TCPConn, 3)
	onLoop(t, e.loop, func() { // so that it cannot accept before the limit is lowered
		for i := range waiting {
			waiting[i] = dial(t, addr)
			mustWrite(t, waiting[i], "waiting")
		}
		setFileLimit(t, 3)
	})
	began := time.Now()
	deadline := began.Add(patience)
	for strings.Count(log.String(), "cannot accept") == 0 {
		if time.Now().After(deadline) {
			t.Fatal("nothing logged")
		}
		time.Sleep(time.Millisecond)
	}
	mustSleep(t, e.loop)
	mustWrite(t, first, "still here")
	mustRead(t, first, "still here")
	var s Stats
	for s.AcceptErrors < 2 {
		if time.Now().After(deadline) {
			t.Fatalf("not tried again: %+v", s)
		}
		time.Sleep(10 * time.Millisecond)
		onLoop(t, e.loop, func() { s = e.loop.Stats() })
	}
	if s.AcceptErrors > uint64(5+time.Since(began)/acceptPauseMin) {
		t.Errorf("tried %d times in a moment", s.AcceptErrors)
	}
	setFileLimit(t, 1000)
	for _, conn := range waiting {
		within(t, accepted)
		mustRead(t, conn, "waiting")
	}
	for _, text := range []string{"cannot accept", "ulimit -n", "accepting again"} {
		if n := strings.Count(log.String(), text); n != 1 {
			t.Errorf("%q said %d times, want once: %s", text, n, log.String())
		}
	}
}

// setFileLimit changes the soft limit; descriptors open beyond it stay open.
func setFileLimit(t *testing.T, n uint64) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Error(err)
	}
	limit.Cur = n
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Error(err)
	}
}
