package stunload

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"derpd/loadgen"
	"derpd/stun"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// serve runs the product's server and returns it.
func serve(t testing.TB, addr string) *stun.Server {
	t.Helper()
	s, err := stun.Listen(netip.MustParseAddrPort(addr), 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// respond runs a responder of the test's own; each request that came is given to answer, which
// sends what it likes; nil is silent.
func respond(t testing.TB, answer func(c *net.UDPConn, from netip.AddrPort, reply []byte)) (
	at netip.AddrPort) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadBuffer(1 << 20)
	done := make(chan bool)
	go func() {
		defer close(done)
		var buf [1500]byte
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf[:])
			if errors.Is(err, net.ErrClosed) {
				return
			}
			reply := stun.Respond(nil, buf[:n], from)
			if reply == nil {
				t.Errorf("not a client's request: %x", buf[:n])
				return
			}
			if answer != nil {
				answer(c, from, reply)
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// mustNew makes a generator that sends what was due in a window however late it comes to it, so that
// tests can count where a machine that is wanted by others keeps it waiting.
func mustNew(t testing.TB, target netip.AddrPort, sources []netip.Addr, sockets int) *Generator {
	t.Helper()
	g, err := New(target, sources, sockets, 1)
	if err != nil {
		t.Fatal(err)
	}
	g.grace = 20 * time.Second
	t.Cleanup(func() { g.Close() })
	return g
}

var constant = loadgen.Arrival{Kind: loadgen.Constant}

const ms = time.Millisecond

func TestAsksTheServerAtARate(t *testing.T) {
	for _, tt := range []struct {
		name, addr string
		sources    []netip.Addr
		arrival    loadgen.Arrival
		sockets    int
		busy       bool
	}{
		{"one socket", "127.0.0.1:0", nil, constant, 1, false},
		{"sources", "127.0.0.1:0", []netip.Addr{netip.MustParseAddr("127.0.0.9"),
			netip.MustParseAddr("127.0.1.1")}, constant, 50, true},
		{"IPv6", "[::1]:0", []netip.Addr{netip.MustParseAddr("::1")}, constant, 3, false},
		{"bursts", "127.0.0.1:0", nil, loadgen.Arrival{Kind: loadgen.Bursts, Burst: 100}, 4, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, tt.addr)
			g := mustNew(t, s.Addr(), tt.sources, tt.sockets)
			const rate, warm, window, drain = 2000.0, 50 * ms, 250 * ms, 20 * time.Second
			began := time.Now()
			got, err := g.Run(t.Context(), tt.arrival, rate, warm, window, drain, tt.busy)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > drain {
				t.Errorf("%v: it waits though all is answered", took)
			}
			if tt.arrival.Kind == loadgen.Constant && (got.Due < 499 || got.Due > 501) {
				t.Errorf("%d were due in %v, want 500", got.Due, window)
			}
			if got.Due == 0 || got.Asked != g.next || got.Lost != 0 || got.Wrong != 0 ||
				got.Latency.Count() != int64(got.Due) || got.Lag.Count() != int64(got.Due) {
				t.Errorf("%+v, %d latencies, %d lags", got, got.Latency.Count(), got.Lag.Count())
			}
			if got.Sent == 0 || got.Answered == 0 || got.Idle <= 0 || got.Partial {
				t.Errorf("in the window: %+v", got)
			}
			for began := time.Now(); s.Stats().Successes != g.next; runtime.Gosched() {
				if time.Since(began) > 10*time.Second { // it counts after it has answered
					t.Fatalf("the server counts %+v, of %d sent", s.Stats(), g.next)
				}
			}
		})
	}
}

func TestFullSpeed(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	g := mustNew(t, s.Addr(), nil, 3)
	for _, busy := range []bool{false, true} { // the second run does not mind the first
		got, err := g.Run(t.Context(), loadgen.Arrival{}, 0, 10*ms, time.Second, 5*time.Second, busy)
		if err != nil {
			t.Fatal(err)
		}
		if got.Sent <= inFlightMax || got.Lost != 0 || got.Latency.Count() != int64(got.Due) || got.Wrong != 0 ||
			got.Answered == 0 || got.Lag.Count() != 0 {
			t.Errorf("busy %v: %+v", busy, got)
		}
	}
}

// At a rate that no generator reaches, what was not sent in its time is not sent at all, the window
// counts what was done in it, and the generator shows as the limit.
func TestFasterThanTheGenerator(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	g := mustNew(t, s.Addr(), nil, 4)
	g.grace = graceSpan
	const rate, window, drain = 5e6, time.Second, 200 * ms // longer than it may be kept waiting
	got, err := g.Run(t.Context(), constant, rate, 10*ms, window, drain, false)
	if err != nil {
		t.Fatal(err)
	}
	if due := rate * window.Seconds(); float64(got.Due) < due*0.999 || float64(got.Due) > due*1.001 {
		t.Errorf("%d were due, want %v", got.Due, due)
	}
	if got.Asked >= got.Due*9/10 || got.Sent == 0 || got.Sent > got.Asked ||
		got.Answered > got.Sent || got.Asked != g.next {
		t.Errorf("%+v: asked for %d in all", got, g.next)
	}
	if got.Idle > 0.2 {
		t.Errorf("idle %v", got.Idle)
	}
}

// Without answers no more is asked than may be in flight, until they are given up.
func TestFullSpeedWithoutAnswers(t *testing.T) {
	at := respond(t, nil)
	g := mustNew(t, at, nil, 2)
	got, err := g.Run(t.Context(), loadgen.Arrival{}, 0, 0, 200*ms, 50*ms, false)
	if err != nil || got.Sent != inFlightMax || got.Answered != 0 {
		t.Errorf("%+v, %v, want %d sent", got, err, inFlightMax)
	}
	got, err = g.Run(t.Context(), loadgen.Arrival{}, 0, 0, 2*giveUpAfter-10*ms, 0, false)
	if err != nil || got.Sent != 2*inFlightMax {
		t.Errorf("%+v, %v, want %d sent", got, err, 2*inFlightMax)
	}
}

// Requests that are forgotten before they are given up make room too.
func TestFullSpeedGoesOnWithLosses(t *testing.T) {
	n := 0
	at := respond(t, func(c *net.UDPConn, to netip.AddrPort, reply []byte) {
		if n++; n%3 > 0 {
			c.WriteToUDPAddrPort(reply, to)
		}
	})
	g := mustNew(t, at, nil, 2)
	r, err := g.newRun(loadgen.Arrival{}, 0, 0, time.Minute, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.table = table{make([]entry, 256)}
	r.start = time.Now()
	for r.result.Sent < 5000 && r.now() < int64(20*time.Second) {
		r.turn()
	}
	if r.result.Sent < 5000 || time.Duration(r.now()) > 10*time.Second {
		t.Errorf("%+v after %v: losses have stopped it", r.result, time.Duration(r.now()))
	}
	asked := map[int32]int{}
	for _, e := range r.table.entries {
		asked[e.socket]++
	}
	if len(asked) != 2 {
		t.Errorf("of 2 sockets there asked %v", asked)
	}
}

// A loss of every tenth and a delay of 20 ms are reported as such.
func TestLossAndDelay(t *testing.T) {
	const delay = 20 * ms
	n := 0
	at := respond(t, func(c *net.UDPConn, to netip.AddrPort, reply []byte) {
		if n++; n%10 > 0 {
			time.AfterFunc(delay, func() { c.WriteToUDPAddrPort(reply, to) })
		}
	})
	g := mustNew(t, at, nil, 5)
	got, err := g.Run(t.Context(), constant, 1000, 0, 300*ms, time.Second, false)
	if err != nil {
		t.Fatal(err)
	}
	if got.Due < 299 || got.Due > 301 || got.Asked != got.Due || got.Lost != got.Due/10 ||
		got.Wrong != 0 {
		t.Errorf("%+v, want 300 sent and 270 answered", got)
	}
	if low := got.Latency.Min(); low < delay || low > 2*delay {
		t.Errorf("from %v, want little more than %v", low, delay)
	}
}

// A server that stands still for 100 ms: whoever waited for answers before it asked again would see
// one slow answer; here all that were due meanwhile are late.
func TestStallShows(t *testing.T) {
	n := 0
	at := respond(t, func(c *net.UDPConn, to netip.AddrPort, reply []byte) {
		if n++; n == 100 {
			time.Sleep(100 * ms)
		}
		c.WriteToUDPAddrPort(reply, to)
	})
	g := mustNew(t, at, nil, 1)
	got, err := g.Run(t.Context(), constant, 1000, 0, 400*ms, time.Second, false)
	if err != nil {
		t.Fatal(err)
	}
	// 100 of 400 came due in the stall, with 0 to 100 ms left of it.
	if most, p90 := got.Latency.Max(), got.Latency.At(90); got.Lost != 0 || got.Asked != got.Due ||
		most < 99*ms || p90 < 50*ms {
		t.Errorf("%+v: longest %v, p90 %v", got, most, p90)
	}
}

func TestWrongAnswersAreCounted(t *testing.T) {
	n := 0
	at := respond(t, func(c *net.UDPConn, to netip.AddrPort, reply []byte) {
		n++
		send := func(b []byte) { c.WriteToUDPAddrPort(b, to) }
		switch n % 8 {
		case 0: // another address
			reply[len(reply)-1] ^= 1
		case 1: // another port
			reply[27] ^= 1
		case 2: // no transaction of ours
			reply[19] ^= 1
		case 3: // one that was not asked
			reply[12] ^= 1
		case 4: // no STUN
			send([]byte("hello"))
		case 5: // twice
			send(reply)
		case 6: // an answer and one byte
			reply = append(reply, 0)
		}
		send(reply)
	})
	g := mustNew(t, at, nil, 4)
	got, err := g.Run(t.Context(), constant, 800, 0, 100*ms, 2*time.Second, false)
	if err != nil {
		t.Fatal(err)
	}
	// Of 8 requests 3 are answered rightly (cases 4, 5 and 7), and each but case 7 has one wrong.
	if got.Asked != 80 || got.Lost != 50 || got.Wrong != 70 {
		t.Errorf("%+v, want 80 sent, 30 answered, 70 wrong", got)
	}
}

// An answer that another socket's request has got is wrong, though the address fits.
func TestAnswerOfAnotherSocket(t *testing.T) {
	g := mustNew(t, respond(t, nil), nil, 2)
	r, err := g.newRun(constant, 1, 0, time.Hour, 0)
	if err != nil {
		t.Fatal(err)
	}
	reply := func(seq uint64, mapped netip.AddrPort) []byte {
		return stun.Respond(nil, stun.AppendRequest(nil, transaction(seq, g.seed)), mapped)
	}
	r.judge(reply(0, g.sockets[0].local), 0, 10) // not asked yet
	if r.result.Wrong != 1 {
		t.Errorf("%+v", r.result)
	}
	r.result.Wrong = 0
	r.sent(0, 5, 5)
	r.judge(reply(0, g.sockets[1].local), 1, 10)
	if r.result.Wrong != 1 || r.answers != 0 {
		t.Errorf("%+v", r.result)
	}
	r.judge(reply(0, g.sockets[0].local), 0, 10)
	if r.result.Wrong != 1 || r.answers != 1 {
		t.Errorf("%+v", r.result)
	}
}

// A request that was given up makes room once, and its late answer counts all the same.
func TestLateAnswer(t *testing.T) {
	g := mustNew(t, respond(t, nil), nil, 1)
	r, err := g.newRun(loadgen.Arrival{}, 0, 0, time.Hour, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.inFlight = 1
	r.sent(0, 0, 0)
	r.giveUp(int64(giveUpAfter) - 1)
	if r.inFlight != 1 {
		t.Error("given up early")
	}
	r.giveUp(int64(giveUpAfter))
	if r.inFlight != 0 {
		t.Error("not given up")
	}
	request := stun.AppendRequest(nil, transaction(0, g.seed))
	r.judge(stun.Respond(nil, request, g.sockets[0].local), 0, int64(2*giveUpAfter))
	if r.inFlight != 0 || r.result.Answered != 1 || r.result.Wrong != 0 {
		t.Errorf("%d in flight, %+v", r.inFlight, r.result)
	}
}

// What is due in the window is sent, though the window may have passed before there was a turn, and
// does not count as sent in it; after the grace it is not sent.
func TestWindowThatHasPassed(t *testing.T) {
	for _, late := range []time.Duration{time.Second, time.Minute} {
		g := mustNew(t, respond(t, nil), nil, 1)
		r, err := g.newRun(constant, 1, 0, 1, 2*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		r.busy = true
		r.start = time.Now().Add(-late)
		goesOn := r.turn()
		r.finish()
		if sent := late < g.grace; goesOn != sent || r.asked != g.next || (g.next == 1) != sent ||
			r.result.Due != 1 || r.result.Sent != 0 {
			t.Errorf("after %v: %+v, goes on %v", late, r.result, goesOn)
		}
	}
}

// A turn sends no more than a socket's share, so that answers are taken in between, and the next one
// follows at once.
func TestTurnsSendAShare(t *testing.T) {
	g := mustNew(t, respond(t, nil), nil, 1)
	r, err := g.newRun(constant, 1, 0, time.Hour, 0)
	if err != nil {
		t.Fatal(err)
	}
	const share = turnBatches * batchMessages
	r.schedule.take() // the next is due in a second
	r.start = time.Now()
	for range share + 1 {
		r.queue(0, 0)
	}
	if r.flush(0) || r.asked != share || r.queued != 1 || r.sleep(r.now()) != 0 {
		t.Errorf("%d sent and %d left, want %d and 1; sleeps %d ns", r.asked, r.queued, share,
			r.sleep(r.now()))
	}
	if !r.flush(0) || r.queued != 0 {
		t.Errorf("%d left", r.queued)
	}
}

// Requests that the kernel would not take do not count as late by the generator's doing.
func TestLagIsNotTheKernels(t *testing.T) {
	g := mustNew(t, respond(t, nil), nil, 1)
	r, err := g.newRun(constant, 1, 0, time.Hour, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.start = time.Now().Add(-time.Minute)
	r.queue(0, 1)
	r.sockets[0].held = true // as after EAGAIN
	if !r.flush(0) || r.result.Lag.Count() != 0 || r.asked != 1 {
		t.Errorf("%d lags of %d asked", r.result.Lag.Count(), r.asked)
	}
	r.queue(0, r.now())
	if !r.flush(0) || r.result.Lag.Count() != 1 {
		t.Errorf("%d lags of %d asked", r.result.Lag.Count(), r.asked)
	}
}

func TestNobodyListens(t *testing.T) {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		t.Fatal(err)
	}
	at := c.LocalAddr().(*net.UDPAddr).AddrPort()
	c.Close()
	g := mustNew(t, at, nil, 2)
	for _, rate := range []float64{0, 1000} {
		got, err := g.Run(t.Context(), constant, rate, 0, 50*ms, 10*ms, false)
		if !errors.Is(err, unix.ECONNREFUSED) || !strings.Contains(err.Error(), at.String()) ||
			got == nil || got.Answered != 0 {
			t.Errorf("rate %v: %+v, %v", rate, got, err)
		}
	}
}

func TestContextEndsItEarly(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	g := mustNew(t, s.Addr(), nil, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
	defer cancel()
	began := time.Now()
	got, err := g.Run(ctx, constant, 1000, 0, time.Minute, time.Minute, false)
	if took := time.Since(began); err != nil || got.Answered == 0 || !got.Partial ||
		took > 10*time.Second {
		t.Errorf("%+v, %v after %v", got, err, took)
	}
}

func TestNewRefuses(t *testing.T) {
	at := netip.MustParseAddrPort
	for _, tt := range []struct {
		target  netip.AddrPort
		sources []string
		sockets int
		says    string
	}{
		{netip.AddrPort{}, nil, 1, "give the address and port"},
		{at("127.0.0.1:0"), nil, 1, "127.0.0.1:0"},
		{at("0.0.0.0:5"), nil, 1, "0.0.0.0:5"},
		{at("[fe80::1%lo]:5"), nil, 1, "without"},
		{at("127.0.0.1:5"), nil, 0, "0 sockets: give 1 to 10000"},
		{at("127.0.0.1:5"), nil, 10001, "10001 sockets"},
		{at("127.0.0.1:5"), []string{"::1"}, 1, "::1"},
		{at("127.0.0.1:5"), []string{"127.0.0.1", "192.0.2.77"}, 2,
			"socket 2 of 2 to 127.0.0.1:5: bind 192.0.2.77"},
	} {
		var sources []netip.Addr
		for _, s := range tt.sources {
			sources = append(sources, netip.MustParseAddr(s))
		}
		g, err := New(tt.target, sources, tt.sockets, 1)
		if err == nil {
			g.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%v from %v, %d sockets: %v", tt.target, tt.sources, tt.sockets, err)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	g := mustNew(t, netip.MustParseAddrPort("127.0.0.1:5"), nil, 1)
	for _, tt := range []struct {
		arrival             loadgen.Arrival
		rate                float64
		warm, window, drain time.Duration
		says                string
	}{
		{constant, -1, 0, 1, 0, "-1 requests"},
		{constant, 1e9, 0, 1, 0, "1e+09 requests"},
		{constant, 1, 0, 0, 0, "window 0s"},
		{constant, 1, -1, 1, 0, "warm-up -1ns"},
		{constant, 1, 0, 1, -1, "drain -1ns"},
		{loadgen.Arrival{Kind: "x"}, 1, 0, 1, 0, `arrival kind is "x"`},
	} {
		got, err := g.Run(t.Context(), tt.arrival, tt.rate, tt.warm, tt.window, tt.drain, false)
		if got != nil || err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: %+v, %v", tt, got, err)
		}
	}
	if err := errors.Join(g.Close(), g.Close()); err != nil {
		t.Error(err)
	}
	if _, err := g.Run(t.Context(), constant, 1, 0, 1, 0, false); err == nil {
		t.Error("Run after Close")
	}
}

func TestTurnsDoNotAllocate(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	g := mustNew(t, s.Addr(), nil, 4)
	r, err := g.newRun(loadgen.Arrival{Kind: loadgen.Poisson}, 50_000, 0, time.Minute, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.start = time.Now()
	for r.result.Answered < 2000 { // queues grow to their size
		r.turn()
	}
	before := r.result.Answered
	if n := testing.AllocsPerRun(1000, func() { r.turn() }); n >= 0.5 {
		t.Errorf("%v allocations a turn", n)
	}
	if r.result.Answered == before || r.result.Wrong != 0 {
		t.Errorf("%+v: it did nothing", r.result)
	}
}

// BenchmarkFullSpeed: requests a second of one generator and one server, one core each.
func BenchmarkFullSpeed(b *testing.B) {
	s := serve(b, "127.0.0.1:0")
	g := mustNew(b, s.Addr(), nil, 4)
	r, err := g.newRun(loadgen.Arrival{}, 0, 0, time.Hour, 0)
	if err != nil {
		b.Fatal(err)
	}
	r.start = time.Now()
	for r.result.Answered < uint64(b.N) {
		r.turn()
	}
	b.ReportMetric(float64(r.result.Answered)/b.Elapsed().Seconds(), "answers/s")
}
