package stun

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"
	"golang.org/x/sys/unix"
)

const patience = 10 * time.Second // for what takes microseconds when it works

// listen makes a server that is closed when the test ends.
func listen(t testing.TB, addr string) *Server {
	t.Helper()
	s, err := Listen(netip.MustParseAddrPort(addr), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// serve runs Serve until the test ends and sees to it that it then returns nil.
func serve(t testing.TB, s *Server) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		s.Close()
		mustEnd(t, done)
	})
}

// mustEnd waits for Serve, whose result done has, and sees to it that that is nil.
func mustEnd(t testing.TB, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Serve: %v", err)
		}
	case <-time.After(patience):
		t.Error("Serve does not end with Close")
	}
}

// waitStats waits until the counters are as wanted.
func waitStats(t testing.TB, s *Server, want Stats) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for s.Stats() != want {
		if time.Now().After(deadline) {
			t.Fatalf("stats are %+v, want %+v", s.Stats(), want)
		}
		runtime.Gosched()
	}
}

// client is an unconnected socket, so that it sees from where an answer really comes.
func client(t testing.TB, local string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// ask sends a request and returns the sender of the answer, which is checked.
func ask(t testing.TB, c *net.UDPConn, to netip.AddrPort) netip.AddrPort {
	t.Helper()
	req := request(t)
	if _, err := c.WriteToUDPAddrPort(req, to); err != nil {
		t.Fatalf("asking %v: %v", to, err)
	}
	var buf [1500]byte
	n, from, err := c.ReadFromUDPAddrPort(buf[:])
	if err != nil {
		t.Fatalf("no answer from %v: %v", to, err)
	}
	checkReply(t, req, buf[:n], c.LocalAddr().(*net.UDPAddr).AddrPort())
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

func TestServeWithPionClient(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		s := listen(t, addr)
		serve(t, s)
		c, err := pion.Dial("udp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		var mapped pion.XORMappedAddress
		m := pion.MustBuild(pion.TransactionID, pion.BindingRequest,
			pion.NewSoftware("tailnode"), pion.Fingerprint)
		err = c.Do(m, func(e pion.Event) {
			if e.Error != nil {
				t.Error(e.Error)
			} else if err := mapped.GetFrom(e.Message); err != nil {
				t.Error(err)
			}
		})
		if err := errors.Join(err, c.Close()); err != nil {
			t.Error(err)
		}
		if !mapped.IP.Equal(s.Addr().Addr().AsSlice()) || mapped.Port == 0 {
			t.Errorf("%s: mapped %v", addr, mapped)
		}
		want := Stats{Successes: 1, IPv4: 1}
		if s.Addr().Addr().Is6() {
			want = Stats{Successes: 1, IPv6: 1}
		}
		waitStats(t, s, want)
	}
}

// One socket on the unspecified address answers from whichever address was asked.
func TestReplyLeavesFromAddressAsked(t *testing.T) {
	for _, addr := range []string{"[::]:0", "0.0.0.0:0"} {
		s := listen(t, addr)
		serve(t, s)
		for client4, asked := range map[string][]string{
			"127.0.0.1:0": {"127.0.0.1", "127.0.0.2", "127.200.3.4"},
			"127.0.0.9:0": {"127.0.0.1", "127.0.0.2", "127.0.0.9"},
			"[::1]:0":     {"::1"},
		} {
			c := client(t, client4)
			for _, ip := range asked {
				to := netip.AddrPortFrom(netip.MustParseAddr(ip), s.Addr().Port())
				if from := ask(t, c, to); from != to {
					t.Errorf("%s: asked %v, answered by %v", addr, to, from)
				}
			}
		}
		waitStats(t, s, Stats{Successes: 7, IPv4: 6, IPv6: 1})
	}
}

func TestZeroAddrIsUnspecified(t *testing.T) {
	s, err := Listen(netip.AddrPort{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s)
	if !s.Addr().Addr().IsUnspecified() || s.Addr().Port() == 0 {
		t.Errorf("listening on %v", s.Addr())
	}
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.Addr().Port())
	ask(t, client(t, "127.0.0.1:0"), to)
}

// What is no request of ours gets silence; the answer to the request behind it comes first.
func TestSilence(t *testing.T) {
	s := listen(t, "127.0.0.1:0")
	serve(t, s)
	c := client(t, "127.0.0.1:0")
	long := request(t, pion.RawAttribute{Type: 0x7fff, Value: make([]byte, 1400)})
	if Respond(nil, long, client4) == nil {
		t.Fatal("the long request is not a good one")
	}
	other := build(t, pion.TransactionID, pion.BindingRequest, pion.Fingerprint)
	ignored := [][]byte{{}, []byte("x"), other, long, make([]byte, 60000)}
	for _, b := range ignored {
		if _, err := c.WriteToUDPAddrPort(b, s.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	ask(t, c, s.Addr())
	waitStats(t, s, Stats{NotSTUN: uint64(len(ignored)), Successes: 1, IPv4: 1})
}

func TestManyClients(t *testing.T) {
	const clients, requests = 16, 100
	s := listen(t, "127.0.0.1:0")
	serve(t, s)
	var wg sync.WaitGroup
	for i := range clients {
		c := client(t, fmt.Sprintf("127.0.1.%d:0", i+1))
		wg.Go(func() {
			for range requests {
				ask(t, c, s.Addr())
				s.Stats()
			}
		})
	}
	wg.Wait()
	waitStats(t, s, Stats{Successes: clients * requests, IPv4: clients * requests})
}

func TestCloseIsIdempotent(t *testing.T) {
	s := listen(t, "127.0.0.1:0")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := s.Serve(); err != nil {
		t.Errorf("Serve behind Close: %v", err)
	}
	if again := listen(t, s.Addr().String()); again.Addr() != s.Addr() {
		t.Errorf("the port is not free: %v", again.Addr())
	}
}

// Close frees the port also of a server that waits for requests, before it returns.
func TestCloseWaitsForServe(t *testing.T) {
	addr := netip.MustParseAddrPort("127.0.0.1:0")
	for range 50 {
		s := listen(t, addr.String())
		addr = s.Addr()
		done := make(chan error, 1)
		go func() { done <- s.Serve() }()
		ask(t, client(t, "127.0.0.1:0"), addr)
		if err := s.Serve(); err == nil || !strings.Contains(err.Error(), "already") {
			t.Fatalf("a second Serve: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		mustEnd(t, done)
	}
}

// Errors that ICMP or a lack of memory leaves behind are counted and survived.
func TestReadErrorsDoNotEndServe(t *testing.T) {
	s := listen(t, "127.0.0.1:0")
	script := []unix.Errno{unix.ECONNREFUSED, unix.EINTR, unix.ENOBUFS, unix.EHOSTUNREACH,
		unix.ENOMEM}
	s.receive = func(fd uintptr, m []message) (int, unix.Errno) {
		if len(script) > 0 {
			errno := script[0]
			script = script[1:]
			return -1, errno
		}
		return receiveMessages(fd, m)
	}
	serve(t, s)
	ask(t, client(t, "127.0.0.1:0"), s.Addr())
	waitStats(t, s, Stats{ReadErrors: 4, Successes: 1, IPv4: 1})
}

func TestLastingReadErrorDoesNotSpin(t *testing.T) {
	s := listen(t, "127.0.0.1:0")
	s.receive = func(uintptr, []message) (int, unix.Errno) { return -1, unix.ENOMEM }
	start := time.Now()
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	deadline := start.Add(patience)
	for s.Stats().ReadErrors < readErrorsInRow+2 {
		if time.Now().After(deadline) {
			t.Fatalf("stats are %+v", s.Stats())
		}
		runtime.Gosched()
	}
	n := s.Stats().ReadErrors // before the time that bounds it
	if errorsMax := readErrorsInRow + 2 + uint64(time.Since(start)/readErrorPause); n > errorsMax {
		t.Errorf("%d reads failed, at most %d fit the time", n, errorsMax)
	}
	s.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The send half of a turn against a scripted kernel.
func TestSendReady(t *testing.T) {
	type result struct {
		n     int
		errno unix.Errno
	}
	for _, tt := range []struct {
		name   string
		script []result
		waits  int // how often it asks to wait for room
		want   Stats
	}{
		{"all at once", []result{{4, 0}}, 0, Stats{Successes: 4}},
		{"in parts", []result{{1, 0}, {2, 0}, {1, 0}}, 0, Stats{Successes: 4}},
		{"no room twice", []result{{-1, unix.EAGAIN}, {3, 0}, {-1, unix.EAGAIN}, {1, 0}}, 2,
			Stats{Successes: 4}},
		{"interrupted", []result{{-1, unix.EINTR}, {4, 0}}, 0, Stats{Successes: 4}},
		{"first refused", []result{{-1, unix.EINVAL}, {3, 0}}, 0,
			Stats{WriteErrors: 1, Successes: 3}},
		{"all refused", []result{{-1, unix.ENOBUFS}, {-1, unix.EPERM}, {-1, unix.ENETUNREACH},
			{-1, unix.EHOSTUNREACH}}, 0, Stats{WriteErrors: 4}},
		{"none without a reason", []result{{0, 0}, {3, 0}}, 0,
			Stats{WriteErrors: 1, Successes: 3}},
	} {
		calls, expect := 0, 4
		s := &Server{send: func(_ uintptr, m []message) (int, unix.Errno) {
			if calls >= len(tt.script) || len(m) != expect {
				t.Fatalf("%s: call %d with %d messages, want %d", tt.name, calls, len(m), expect)
			}
			r := tt.script[calls]
			calls++
			if r.n > 0 {
				expect -= r.n
			} else if r.errno != unix.EAGAIN && r.errno != unix.EINTR {
				expect--
			}
			return r.n, r.errno
		}}
		turn := newTurns(s)
		turn.answers = 4
		waits := 0
		for !turn.send() {
			waits++
		}
		if turn.stats != tt.want || waits != tt.waits || calls != len(tt.script) {
			t.Errorf("%s: %+v, %d waits, %d calls", tt.name, turn.stats, waits, calls)
		}
	}
}

// A batch that is not full has emptied the socket: it is not asked again before a datagram comes.
func TestOneReceiveForADatagram(t *testing.T) {
	const requests = 50
	s := listen(t, "127.0.0.1:0")
	var receives atomic.Int32
	s.receive = func(fd uintptr, m []message) (int, unix.Errno) {
		receives.Add(1)
		return receiveMessages(fd, m)
	}
	serve(t, s)
	c := client(t, "127.0.0.1:0")
	for range requests {
		ask(t, c, s.Addr())
	}
	// Two more: before the first request, and for its event if it was there already.
	if n := receives.Load(); n > requests+2 {
		t.Errorf("%d receives for %d requests one after the other", n, requests)
	}
}

// Requests gather while several come in the time that they may wait for each other, less what the
// turn before has taken of it.
func TestGather(t *testing.T) {
	const (
		spare  = 80 * time.Microsecond // while there is processor time to spare
		budget = 5 * spare
	)
	for _, tt := range []struct {
		name   string
		budget time.Duration
		every  time.Duration // a request comes
		turn   time.Duration // until the answers of a turn are sent
		want   time.Duration // of each nap; 0: none
	}{
		{"one by one", budget, spare, 4 * time.Microsecond, 0},
		{"several", budget, 10 * time.Microsecond, 10 * time.Microsecond, 70 * time.Microsecond},
		{"many, in long turns", budget, 2 * time.Microsecond, 60 * time.Microsecond, 0},
		{"off", 0, 10 * time.Microsecond, 10 * time.Microsecond, 0},
	} {
		s := listen(t, "127.0.0.1:0")
		c := client(t, "127.0.0.1:0")
		// So that a wait for the socket, which is not received from here, is over at once.
		if _, err := c.WriteToUDPAddrPort(request(t), s.Addr()); err != nil {
			t.Fatal(err)
		}
		s.gather = tt.budget
		now := int64(time.Hour)
		next := now // when a request comes
		s.receive = func(_ uintptr, m []message) (n int, _ unix.Errno) {
			for ; next <= now && n < len(m); n++ {
				m[n].n = 0 // nothing that is answered
				next += int64(tt.every)
			}
			now += int64(tt.turn)
			return n, 0
		}
		turn := newTurns(s)
		turn.now = func() int64 { return now }
		turn.pace.Used = func() int64 { return 0 }
		var naps []time.Duration
		turn.nap = func(d time.Duration) {
			naps = append(naps, d)
			now += int64(d)
		}
		for range 1000 {
			if did := turn.turn(); did != wantsOthers {
				t.Fatalf("%s: a turn ends with %d", tt.name, did)
			}
			before := len(naps)
			turn.gather()
			if len(naps) == before {
				now = max(now, next)
			}
		}
		switch {
		case tt.want == 0 && len(naps) > 0:
			t.Errorf("%s: naps of %v", tt.name, naps[0])
		case tt.want > 0 && (len(naps) < 800 || naps[len(naps)-1] != tt.want):
			t.Errorf("%s: %d naps, want many of %v", tt.name, len(naps), tt.want)
		}
	}
}

// A datagram that comes behind the last look at the socket, but before Serve waits for one, has
// made it ready and is not forgotten.
func TestDatagramBeforeTheWait(t *testing.T) {
	s := listen(t, "127.0.0.1:0")
	c := client(t, "127.0.0.1:0")
	later := 20
	s.receive = func(fd uintptr, m []message) (int, unix.Errno) {
		n, errno := receiveMessages(fd, m)
		if later > 0 && errno == 0 {
			later--
			if _, err := c.WriteToUDPAddrPort(request(t), s.Addr()); err != nil {
				t.Error(err)
			}
		}
		return n, errno
	}
	want := Stats{Successes: uint64(later) + 1, IPv4: uint64(later) + 1}
	serve(t, s)
	if _, err := c.WriteToUDPAddrPort(request(t), s.Addr()); err != nil {
		t.Fatal(err)
	}
	waitStats(t, s, want)
}

// Answers for which there is no room are sent when there is, and Serve goes on.
func TestNoRoomForAnAnswer(t *testing.T) {
	s := listen(t, "127.0.0.1:0")
	full := true
	s.send = func(fd uintptr, m []message) (int, unix.Errno) {
		if full = !full; !full {
			return -1, unix.EAGAIN
		}
		return sendMessages(fd, m)
	}
	serve(t, s)
	c := client(t, "127.0.0.1:0")
	for range 3 {
		ask(t, c, s.Addr())
	}
	waitStats(t, s, Stats{Successes: 3, IPv4: 3})
}

func TestRefusedAnswerIsCounted(t *testing.T) {
	s := listen(t, "127.0.0.1:0")
	var sends atomic.Int32
	s.send = func(fd uintptr, m []message) (int, unix.Errno) {
		if sends.Add(1) == 1 {
			return -1, unix.ENOBUFS
		}
		return sendMessages(fd, m)
	}
	serve(t, s)
	c := client(t, "127.0.0.1:0")
	if _, err := c.WriteToUDPAddrPort(request(t), s.Addr()); err != nil {
		t.Fatal(err)
	}
	waitStats(t, s, Stats{WriteErrors: 1, IPv4: 1})
	ask(t, c, s.Addr())
	waitStats(t, s, Stats{WriteErrors: 1, Successes: 1, IPv4: 2})
}

func TestBindErrors(t *testing.T) {
	taken := listen(t, "127.0.0.1:0").Addr()
	for _, tt := range []struct {
		addr   netip.AddrPort
		is     error
		remedy string
	}{
		{taken, unix.EADDRINUSE, "ss -lunp"},
		{netip.MustParseAddrPort("192.0.2.1:3478"), unix.EADDRNOTAVAIL, "ip addr"},
	} {
		_, err := Listen(tt.addr, 0)
		if !errors.Is(err, tt.is) || strings.Count(err.Error(), tt.addr.String()) != 1 ||
			!strings.Contains(err.Error(), tt.remedy) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v", tt.addr, err)
		}
	}
	err := bindError(netip.AddrPortFrom(netip.Addr{}, 53),
		&net.OpError{Op: "listen", Err: os.NewSyscallError("bind", unix.EACCES)})
	want := "stun: cannot listen on UDP :53: bind: permission denied: ports below 1024 need " +
		"CAP_NET_BIND_SERVICE, so grant it or choose a higher port"
	if err.Error() != want {
		t.Errorf("got %v, want %v", err, want)
	}
}

// AllocsPerRun counts the whole process, Serve's goroutine too.
func TestServeDoesNotAllocate(t *testing.T) {
	s := listen(t, "[::]:0")
	serve(t, s)
	for _, ip := range []string{"127.0.0.1", "::1"} {
		to := netip.AddrPortFrom(netip.MustParseAddr(ip), s.Addr().Port())
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		req, buf := request(t), make([]byte, 100)
		n := testing.AllocsPerRun(200, func() {
			if _, err := conn.Write(req); err != nil {
				t.Fatal(err)
			}
			if n, err := conn.Read(buf); err != nil || !bytes.Equal(buf[8:20], req[8:20]) {
				t.Fatalf("%d bytes, %v", n, err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations a request", ip, n)
		}
	}
}
