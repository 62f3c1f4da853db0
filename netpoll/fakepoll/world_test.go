package fakepoll_test

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"derpd/netpoll"
	"derpd/netpoll/fakepoll"
)

func TestTimersAreNeverEarly(t *testing.T) {
	for seed := range uint64(50) {
		w := fakepoll.New(seed, fakepoll.DefaultFaults())
		k := attach(w, 0)
		due := make(map[netpoll.Handle]time.Duration)
		fired := 0
		set := func(h netpoll.Handle) {
			d := time.Duration(1 + w.Rand().Int64N(int64(3*time.Second)))
			due[h] = time.Duration(k.loop.Now()) + d
			k.loop.SetTimeout(h, d)
		}
		k.accepted = set
		k.timeout = func(h netpoll.Handle) {
			now := time.Duration(k.loop.Now())
			if late := now - due[h]; late < 0 || late > netpoll.TimerTick+time.Millisecond {
				t.Errorf("seed %d: a timeout %v late", seed, late)
			}
			if fired++; fired < 50 {
				set(h)
				set(h) // replaces
			}
		}
		for i := range 5 {
			w.Dial(k.loop, 0, addr(i))
		}
		rest(w)
		if fired < 50 {
			t.Errorf("seed %d: %d timeouts", seed, fired)
		}
	}
}

func TestAdvance(t *testing.T) {
	w := fakepoll.New(1, fakepoll.DefaultFaults())
	k := attach(w, 0)
	fired := 0
	k.accepted = func(h netpoll.Handle) { k.loop.SetTimeout(h, time.Second) }
	k.timeout = func(netpoll.Handle) { fired++ }
	w.Dial(k.loop, 0, addr(1))
	w.Advance(990 * time.Millisecond)
	if fired != 0 {
		t.Error("fired within 990 ms")
	}
	w.Advance(300 * time.Millisecond)
	if fired != 1 {
		t.Errorf("fired %d times after 1.29 s", fired)
	}
	if now := w.Now(); now < 1290*time.Millisecond || now > 1291*time.Millisecond {
		t.Errorf("now %v", now)
	}
}

// A handler that wakes itself in every turn must not keep Advance from ending.
func TestAdvanceEndsThoughALoopSpins(t *testing.T) {
	w := fakepoll.New(1, fakepoll.None())
	k := attach(w, 0)
	k.flush = func() { k.loop.Wake() }
	k.loop.Wake()
	w.Advance(5 * time.Millisecond)
	if w.Stats(k.loop).Turns == 0 {
		t.Error("no turn")
	}
}

func TestHorizon(t *testing.T) {
	w := fakepoll.New(1, fakepoll.None())
	called := false
	w.After(30*time.Second, func() { called = true })
	w.SetHorizon(10 * time.Second)
	if w.Step() || called {
		t.Error("a timer beyond the horizon was waited for")
	}
	w.SetHorizon(time.Minute)
	if !w.Step() || !called || w.Now() != 30*time.Second {
		t.Errorf("called %t at %v", called, w.Now())
	}
	if w.Step() {
		t.Error("something happens in an empty world")
	}
}

func TestAcceptFailuresKeepOrderAndLoseNobody(t *testing.T) {
	for seed := range uint64(30) {
		w := fakepoll.New(seed, fakepoll.Faults{AcceptFail: 0.6, AcceptDelay: 0.5})
		k := attach(w, 0)
		var peers []*fakepoll.Peer
		for i := range 20 {
			peers = append(peers, w.Dial(k.loop, 0, addr(i)))
		}
		rest(w)
		var order []netpoll.Handle
		for _, p := range peers {
			order = append(order, p.Handle())
		}
		if !slices.Equal(order, k.open) {
			t.Errorf("seed %d: accepted %x, dialled %x", seed, k.open, order)
		}
		if w.Stats(k.loop).AcceptErrors == 0 || w.Now() < 100*time.Millisecond {
			t.Errorf("seed %d: no accept failed", seed)
		}
	}
}

func TestFullTable(t *testing.T) {
	w := fakepoll.New(1, fakepoll.None())
	k := attach(w, 0)
	k.loop.SetMaxConnections(2)
	peers := []*fakepoll.Peer{
		w.Dial(k.loop, 0, addr(1)), w.Dial(k.loop, 0, addr(2)), w.Dial(k.loop, 0, addr(3)),
	}
	rest(w)
	if !peers[1].Accepted() || peers[2].Accepted() || !peers[2].Closed() {
		t.Fatal("the third connection is not turned away")
	}
	k.loop.Post(func() {
		_, err := k.loop.Connect(netip.AddrPort{}, addr(9))
		if !errors.Is(err, netpoll.ErrTooMany) {
			t.Errorf("Connect: %v", err)
		}
		k.loop.Close(k.open[0])
	})
	rest(w)
	next := w.Dial(k.loop, 0, addr(4))
	rest(w)
	if a, b := peers[0].Handle(), next.Handle(); a.Slot() != b.Slot() || a == b {
		t.Errorf("handles %x and %x: the freed slot is not used again", a, b)
	}
	if n := w.Stats(k.loop).AcceptsFull; n != 1 {
		t.Errorf("Stats counts %d accepts too many", n)
	}
}

func TestFrozenPeerBlocksSend(t *testing.T) {
	w := fakepoll.New(1, fakepoll.None())
	k := attach(w, 0)
	big := make([]byte, 1<<20)
	var gotErr error
	k.accepted = func(h netpoll.Handle) {
		k.loop.SetWriteTimeout(h, time.Second)
		if k.loop.Send(h, big) {
			t.Error("a frozen peer takes a megabyte")
		}
	}
	k.sent = func(_ netpoll.Handle, _ []byte, _ int, err error) { gotErr = err }
	p := w.Dial(k.loop, 0, addr(1))
	p.Freeze(true)
	w.Advance(900 * time.Millisecond)
	if p.Read(10) != nil || p.Buffered() == 0 || p.Buffered() >= len(big) {
		t.Errorf("a frozen peer reads, or holds %d bytes", p.Buffered())
	}
	before := p.Buffered()
	p.SetWindow(before + 1000) // a little progress holds the write timeout off
	w.Advance(900 * time.Millisecond)
	if p.Closed() || p.Buffered() != before+1000 {
		t.Errorf("closed %t, %d bytes arrived beyond %d", p.Closed(), p.Buffered(), before)
	}
	w.Advance(300 * time.Millisecond)
	if !p.Closed() || !errors.Is(gotErr, netpoll.ErrWriteTimeout) {
		t.Errorf("closed %t, Sent with %v", p.Closed(), gotErr)
	}
}

func TestPeerResetIsAccounted(t *testing.T) {
	w := fakepoll.New(1, fakepoll.None())
	k := attach(w, 0)
	var causes []error
	k.accepted = func(h netpoll.Handle) { k.loop.Send(h, make([]byte, 100)) }
	k.closed = func(_ netpoll.Handle, err error) { causes = append(causes, err) }
	p := w.Dial(k.loop, 0, addr(1))
	rest(w)
	p.Read(30)
	p.Reset()
	rest(w)
	if p.LostInFlight() != 70 || !p.Closed() || !p.WasReset() || p.Read(100) != nil {
		t.Errorf("lost %d, closed %t, reset %t", p.LostInFlight(), p.Closed(), p.WasReset())
	}
	if len(causes) != 1 || !errors.Is(causes[0], syscall.ECONNRESET) {
		t.Errorf("Closed with %v", causes)
	}
}

func TestNews(t *testing.T) {
	w := fakepoll.New(1, fakepoll.None())
	k := attach(w, 0)
	a, b := w.Dial(k.loop, 0, addr(1)), w.Dial(k.loop, 0, addr(2))
	rest(w)
	if news := w.News(); !slices.Equal(news, []*fakepoll.Peer{a, b}) {
		t.Errorf("news of %v", news)
	}
	k.loop.Post(func() { k.loop.Send(b.Handle(), []byte("x")); k.loop.Close(b.Handle()) })
	rest(w)
	if news := w.News(); !slices.Equal(news, []*fakepoll.Peer{b}) {
		t.Errorf("news of %v", news)
	}
	if len(w.News()) != 0 {
		t.Error("old news")
	}
}

func TestDialOfAnEndedLoopIsRefused(t *testing.T) {
	w := fakepoll.New(1, fakepoll.None())
	k := attach(w, 0)
	waiting := w.Dial(k.loop, 0, addr(1))
	k.loop.Stop()
	rest(w)
	if late := w.Dial(k.loop, 0, addr(2)); !waiting.Closed() || !late.Closed() {
		t.Errorf("closed: %t and %t", waiting.Closed(), late.Closed())
	}
	k.loop.Wake()
	if w.Step() || k.loop.Post(func() {}) {
		t.Error("an ended loop goes on")
	}
}

// Wake and Post may come from real goroutines; the race detector watches.
func TestWakeAndPostFromGoroutines(t *testing.T) {
	w := fakepoll.New(1, fakepoll.DefaultFaults())
	k := attach(w, 0)
	ran := 0
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 500 {
				k.loop.Wake()
				k.loop.Post(func() { ran++ })
			}
		})
	}
	stop := make(chan struct{})
	go func() { group.Wait(); close(stop) }()
	for running := true; running; {
		select {
		case <-stop:
			running = false
		default:
			w.Step()
		}
	}
	rest(w)
	if ran != 2000 {
		t.Errorf("%d posted functions ran", ran)
	}
}

func TestLoopsTalkToEachOther(t *testing.T) {
	for seed := range uint64(10) {
		f := fakepoll.DefaultFaults()
		f.Reset, f.ConnectFail = 0, 0
		s := newStage(t, seed, f, 8<<10)
		front := s.w.Loop(0, 8<<10)
		at := netip.MustParseAddrPort("203.0.113.7:443")
		s.w.Route(at, s.loop, 0)
		fwd := newForwarder(front, at)
		s.w.Attach(front, fwd)
		p := s.w.Dial(front, 0, addr(1))
		want := bytes.Repeat([]byte("forwarded both ways. "), 10_000)
		p.Write(want)
		var got []byte
		s.w.RunUntil(func() bool {
			got = append(got, p.Read(1<<20)...)
			return len(got) >= len(want)
		}, 200_000)
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: %d of %d bytes came back", seed, len(got), len(want))
		}
		p.CloseWrite()
		closed := func() bool { return p.Closed() && s.check.Open() == 0 }
		if !s.w.RunUntil(closed, 10_000) {
			t.Fatalf("seed %d: the end does not pass through", seed)
		}
		front.Stop()
		s.finish(t, seed)
	}
}
