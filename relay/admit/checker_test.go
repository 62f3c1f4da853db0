package admit

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// answers collects what done functions are given.
type answers struct {
	mu  sync.Mutex
	why []Reason
}

func (a *answers) done(allowed bool, why Reason) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if allowed != why.Allows() {
		panic(fmt.Sprint(allowed, why))
	}
	a.why = append(a.why, why)
}

func (a *answers) count(why Reason) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.why {
		if w == why {
			n++
		}
	}
	return n
}

func (a *answers) total() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.why)
}

func TestReasonNames(t *testing.T) {
	names := map[string]Reason{}
	for why := range reasonCount {
		if other, twice := names[why.String()]; twice || why.String() == "" {
			t.Errorf("reasons %d and %d are both %q", why, other, why)
		}
		names[why.String()] = why
	}
}

func TestLoginsOfOneKeyAreAskedOnce(t *testing.T) {
	f := startTailscaled(t)
	g := newGate(t)
	f.replyWith(g.before(text(200, "{}")))
	c := newChecker(t, Config{Tailscaled: true, Socket: f.socket})
	var a answers
	for i := range 100 {
		r := request(1)
		r.Remote = netip.AddrPortFrom(r.Remote.Addr(), uint16(i))
		if !c.Submit(r, a.done) {
			t.Fatal("refused")
		}
	}
	if !c.Submit(request(2), a.done) {
		t.Fatal("refused")
	}
	until(t, "both keys are asked for", func() bool { return f.asked.Load() == 2 })
	g.open()
	until(t, "all are answered", func() bool { return c.Stats().Waiting == 0 })
	if got := a.count(Allowed); got != 101 || a.total() != 101 {
		t.Errorf("%d answers, %d of them Allowed, want 101", a.total(), got)
	}
	s := c.Stats()
	if f.asked.Load() != 2 || s.Joined != 99 || s.Answers[Allowed] != 101 || s.Asking != 0 {
		t.Errorf("asked %d times, stats %+v", f.asked.Load(), s)
	}
}

// A controller may decide by the address, so it is asked for each.
func TestAddressesAreAskedApart(t *testing.T) {
	f := startController(t, func(w http.ResponseWriter, _ *http.Request) {
		text(200, `{"Allow":true}`)(w, nil)
	})
	c := newChecker(t, Config{URL: f.URL, CacheFor: time.Hour})
	for range 3 {
		for _, remote := range []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"} {
			r := Request{Key: key(1), Remote: netip.MustParseAddrPort(remote)}
			expect(t, c, r, Allowed)
		}
	}
	if f.count() != 2 || c.Stats().Cached != 7 {
		t.Errorf("asked %d times, want 2; %+v", f.count(), c.Stats())
	}
}

func TestCache(t *testing.T) {
	f := startTailscaled(t, 1)
	c := newChecker(t, Config{Tailscaled: true, Socket: f.socket, CacheFor: 10 * time.Second})
	clock := newClock(c)
	var askedBefore int32
	step := func(name string, after time.Duration, k byte, want Reason, wantAsked int32) {
		t.Helper()
		clock.move(after)
		expect(t, c, request(k), want)
		if n := f.asked.Load() - askedBefore; n != wantAsked {
			t.Errorf("%s: asked %d times, want %d", name, n, wantAsked)
		}
		askedBefore = f.asked.Load()
	}
	step("first", 0, 1, Allowed, 1)
	step("again", 0, 1, Allowed, 0)
	step("another", 0, 2, DeniedByTailscaled, 1)
	step("another again", 0, 2, DeniedByTailscaled, 0)
	f.known.Store(key(2), true)
	f.known.Delete(key(1))
	step("a refusal holds a little", refusedForMax-1, 2, DeniedByTailscaled, 0)
	step("but not long", 1, 2, Allowed, 1)
	step("an admission holds longer", 7*time.Second-1, 1, Allowed, 0)
	step("but not for ever", 1, 1, DeniedByTailscaled, 1)

	f.replyWith(text(500, ""))
	step("trouble", time.Hour, 3, TailscaledError, 1)
	step("trouble is not kept", 0, 3, TailscaledError, 1)
	f.reply.Store(nil)
	step("and forgotten", 0, 3, DeniedByTailscaled, 1)
}

func TestCacheOff(t *testing.T) {
	f := startTailscaled(t, 1)
	c := newChecker(t, Config{Tailscaled: true, Socket: f.socket})
	newClock(c) // time stands still
	for range 3 {
		expect(t, c, request(1), Allowed)
		expect(t, c, request(2), DeniedByTailscaled)
	}
	if f.asked.Load() != 6 {
		t.Errorf("asked %d times, want 6", f.asked.Load())
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(time.Minute, 3)
	now := time.Unix(1000, 0)
	for n := range byte(5) {
		c.put(subject{key: key(n)}, Allowed, now)
		now = now.Add(time.Second)
	}
	for n := range byte(5) {
		_, ok := c.get(subject{key: key(n)}, now)
		if want := n >= 2; ok != want {
			t.Errorf("key %d is there: %v, want %v", n, ok, want)
		}
	}
	if len(c.reasons) != 3 || len(c.order) != 3 {
		t.Errorf("%d and %d entries, want 3", len(c.reasons), len(c.order))
	}
	c.get(subject{}, now.Add(time.Hour))
	if len(c.reasons) != 0 || len(c.order) != 0 {
		t.Errorf("%d and %d entries after their time", len(c.reasons), len(c.order))
	}
}

func TestBoundsOnAskingAndWaiting(t *testing.T) {
	f := startTailscaled(t)
	var at, most atomic.Int32
	g := newGate(t)
	f.replyWith(func(w http.ResponseWriter, r *http.Request) {
		n := at.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		g.before(text(200, "{}"))(w, r)
		at.Add(-1)
	})
	c := newChecker(t, Config{Tailscaled: true, Socket: f.socket, MaxConcurrent: 3, MaxWaiting: 7})
	var a answers
	taken := 0
	for n := range byte(20) {
		if c.Submit(request(n), a.done) {
			taken++
		}
	}
	if taken != 10 {
		t.Errorf("%d logins taken, want 10", taken)
	}
	expect(t, c, request(200), Busy)
	until(t, "three are asked for", func() bool { return at.Load() == 3 })
	if s := c.Stats(); s.Asking != 3 || s.Waiting != 10 || s.Answers[Busy] != 11 {
		t.Errorf("%+v", s)
	}
	g.open()
	until(t, "all are answered", func() bool { return c.Stats().Waiting == 0 })
	if a.count(Allowed) != 10 || a.total() != 10 || most.Load() != 3 {
		t.Errorf("%d answers, %d Allowed, at most %d at once", a.total(), a.count(Allowed),
			most.Load())
	}
	expect(t, c, request(201), Allowed)
	until(t, "the workers have ended", func() bool { return c.Stats().Asking == 0 })
}

func TestWaitingForATurnIsBounded(t *testing.T) {
	f := startTailscaled(t, 1, 2, 3)
	g := newGate(t)
	f.replyWith(g.before(text(200, "{}")))
	c := newChecker(t, Config{Tailscaled: true, Socket: f.socket, MaxConcurrent: 1,
		Timeout: time.Minute})
	clock := newClock(c)
	var a answers
	for n := range byte(2) {
		c.Submit(request(n), a.done)
	}
	until(t, "the first is asked for", func() bool { return f.asked.Load() == 1 })
	clock.move(time.Minute + time.Second)
	c.Submit(request(2), a.done)
	g.open()
	until(t, "all are answered", func() bool { return a.total() == 3 })
	if a.count(Allowed) != 2 || a.count(Timeout) != 1 || f.asked.Load() != 2 {
		t.Errorf("%v, asked %d times: the second should have timed out", a.why, f.asked.Load())
	}
}

// A caller that holds a lock which done wants must not be caught in it, cached or not.
func TestDoneIsNeverCalledInsideSubmit(t *testing.T) {
	f := startTailscaled(t, 1)
	c := newChecker(t, Config{Tailscaled: true, Socket: f.socket, CacheFor: time.Hour,
		DisallowAppNames: []string{"bad"}})
	expect(t, c, request(1), Allowed) // fill the cache
	bad := request(1)
	bad.AppName = "bad"
	for _, r := range []Request{request(1), request(2), bad} {
		var mine sync.Mutex
		told := make(chan struct{})
		mine.Lock()
		if !c.Submit(r, func(bool, Reason) { mine.Lock(); close(told) }) {
			t.Fatal("refused")
		}
		mine.Unlock()
		select {
		case <-told:
		case <-time.After(patience):
			t.Fatal("not told")
		}
	}
}

// While a service hangs, one check at a time pays for finding out; when it is back, all pass.
func TestHangingServiceIsProbedByOne(t *testing.T) {
	f := startTailscaled(t)
	var hang atomic.Bool
	hang.Store(true)
	g := newGate(t)
	f.replyWith(func(w http.ResponseWriter, r *http.Request) {
		if hang.Load() {
			g.before(text(500, ""))(w, r)
			return
		}
		text(200, "{}")(w, r)
	})
	c := newChecker(t, Config{Tailscaled: true, Socket: f.socket, Timeout: 2 * time.Second})
	for n := range byte(lostMax) {
		expect(t, c, request(n), TailscaledUnreachable)
	}
	until(t, "all have asked", func() bool { return f.asked.Load() == lostMax })
	// The probe has all the time it wants; nobody waits for it.
	c.tailscaled.timeout = time.Hour
	var probe answers
	c.Submit(request(100), probe.done)
	until(t, "the probe asks", func() bool { return f.asked.Load() == lostMax+1 })
	for n := range byte(20) {
		expect(t, c, request(n), TailscaledUnreachable)
	}
	if got := f.asked.Load(); got != lostMax+1 {
		t.Errorf("asked %d times beside the probe", got-lostMax-1)
	}
	hang.Store(false)
	g.open()
	until(t, "the probe is answered", func() bool { return probe.total() == 1 })
	for n := range byte(20) {
		expect(t, c, request(n), Allowed)
	}
	if c.Stats().TailscaledLost {
		t.Error("still lost")
	}
}

func TestCheckGivesUp(t *testing.T) {
	f := startTailscaled(t)
	g := newGate(t)
	f.replyWith(g.before(text(200, "{}")))
	c := newChecker(t, Config{Tailscaled: true, Socket: f.socket, CacheFor: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for f.asked.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if allowed, why := c.Check(ctx, request(1)); allowed || why != Timeout {
		t.Errorf("%v, %v, want Timeout", allowed, why)
	}
	g.open()
	expect(t, c, request(1), Allowed)
	if f.asked.Load() != 1 {
		t.Errorf("asked %d times: the check should have gone on", f.asked.Load())
	}
}

// Close breaks off what is under way; fail-open must not turn that into an admission.
func TestClose(t *testing.T) {
	f := startController(t, newGate(t).before(text(200, `{"Allow":true}`)))
	var log journal
	c := newChecker(t, Config{URL: f.URL, URLFailOpen: true, MaxConcurrent: 2, Timeout: time.Hour,
		Logger: log.logger()})
	var a answers
	for n := range byte(10) {
		if !c.Submit(request(n), a.done) {
			t.Fatal("refused")
		}
		if !c.Submit(request(n), a.done) {
			t.Fatal("refused")
		}
	}
	until(t, "two are asked for", func() bool { return f.count() == 2 })
	c.Close()
	if a.total() != 20 || a.count(Closed) != 20 {
		t.Errorf("%d answers, %d of them Closed, want 20: %v", a.total(), a.count(Closed), a.why)
	}
	if c.Submit(request(1), a.done) {
		t.Error("a closed Checker takes logins")
	}
	expect(t, c, request(1), Closed)
	c.Close()
	if lines := log.take(); lines != nil {
		t.Errorf("logged %q", lines)
	}
}

// TestStorm has many goroutines submit few keys while the Checker closes: every done function
// that was taken is called once.
func TestStorm(t *testing.T) {
	ts := startTailscaled(t, 1, 2, 3)
	ctl := startController(t, text(200, `{"Allow":true}`))
	c := newChecker(t, Config{Tailscaled: true, Socket: ts.socket, URL: ctl.URL, CacheFor: 1,
		MaxConcurrent: 4, MaxWaiting: 16, Timeout: patience})
	var taken, told, refused atomic.Int32
	var senders sync.WaitGroup
	for s := range 8 {
		senders.Go(func() {
			for i := range 500 {
				var once atomic.Bool
				if !c.Submit(request(byte((s+i)%6)), func(_ bool, why Reason) {
					if once.Swap(true) {
						t.Error("told twice")
					}
					told.Add(1)
				}) {
					refused.Add(1)
					continue
				}
				if taken.Add(1) == 1000 {
					senders.Go(c.Close)
				}
			}
		})
	}
	senders.Wait()
	c.Close()
	if taken.Load() != told.Load() || taken.Load()+refused.Load() != 8*500 {
		t.Errorf("%d taken, %d told, %d refused", taken.Load(), told.Load(), refused.Load())
	}
	var sum uint64
	for _, n := range c.Stats().Answers {
		sum += n
	}
	if sum != 8*500 {
		t.Errorf("%d answers counted, want %d", sum, 8*500)
	}
}
