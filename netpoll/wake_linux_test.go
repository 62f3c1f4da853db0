package netpoll

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Several goroutines post while the loop falls asleep again and again: all run, in order.
func TestPostRaces(t *testing.T) { eachEngine(t, testPostRaces) }

func testPostRaces(t *testing.T) {
	const posters, posts = 6, 2000
	p := &probe{}
	runLoop(t, p, Config{})
	var all sync.WaitGroup
	var last [posters]int // the loop's
	for i := range posters {
		all.Add(1)
		go func() {
			var mine sync.WaitGroup
			for n := 1; n <= posts; n++ {
				mine.Add(1)
				p.loop.Post(func() {
					if last[i] != n-1 {
						t.Errorf("poster %d: %d after %d", i, n, last[i])
					}
					last[i] = n
					mine.Done()
				})
				if n%(i+2) == 0 {
					mine.Wait() // lets the loop sleep
				}
			}
			mine.Wait()
			all.Done()
		}()
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	within(t, done)
}

// What was published before Wake is seen by Woken, and no Wake is lost: a waker that waits
// would wait for ever.
func TestWakeRaces(t *testing.T) { eachEngine(t, testWakeRaces) }

func testWakeRaces(t *testing.T) {
	const wakers, wakes = 6, 2000
	var published atomic.Int64
	var mu sync.Mutex
	seen, changed := int64(0), sync.NewCond(&mu)
	p := &probe{}
	p.woken = func() {
		mu.Lock()
		defer mu.Unlock()
		seen = published.Load()
		changed.Broadcast()
	}
	runLoop(t, p, Config{})
	var all sync.WaitGroup
	for i := range wakers {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := range wakes {
				mine := published.Add(1)
				p.loop.Wake()
				if n%(i+2) == 0 || n == wakes-1 {
					mu.Lock()
					for seen < mine {
						changed.Wait()
					}
					mu.Unlock()
				}
			}
		}()
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	within(t, done)
	var stats Stats
	onLoop(t, p.loop, func() { stats = p.loop.Stats() })
	if stats.Wakeups > stats.Sleeps || stats.Sleeps == 0 {
		t.Errorf("%d wake-up calls for %d sleeps", stats.Wakeups, stats.Sleeps)
	}
}

// A loop does not wait for somebody who is about to wake it, whose thread the scheduler may have
// taken the processor from: it needs none of what a waker holds.
func TestWakerHeldUp(t *testing.T) { eachEngine(t, testWakerHeldUp) }

func testWakerHeldUp(t *testing.T) {
	p := &probe{}
	p.woken = func() { p.loop.WakeAt(p.loop.Now() + int64(time.Millisecond)) }
	runLoop(t, p, Config{})
	held := wakerOf(p.loop)
	onLoop(t, p.loop, func() {}) // from now on it turns every millisecond
	held.rings.Lock()            // as one does that writes the eventfd
	ran, posted := make(chan struct{}), make(chan bool, 1)
	go func() { posted <- p.loop.Post(func() { close(ran) }) }()
	within(t, ran)
	held.rings.Unlock()
	if !within(t, posted) {
		t.Error("the loop had ended")
	}
}

// What is left for a loop does not wake it, and runs in the next turn, whatever that is for.
func TestLeave(t *testing.T) { eachEngine(t, testLeave) }

func testLeave(t *testing.T) {
	p := &probe{}
	addr := runLoop(t, p, Config{})
	held := wakerOf(p.loop)
	ran := make(chan struct{})
	onLoop(t, p.loop, func() {})
	for held.state.Load() != asleep {
		runtime.Gosched()
	}
	before := held.wakeups.Load()
	if !p.loop.Leave(func() { close(ran) }) {
		t.Fatal("the loop has ended")
	}
	if held.state.Load() != asleep || held.wakeups.Load() != before {
		t.Error("it is woken")
	}
	dial(t, addr)
	within(t, ran)
	if n := held.wakeups.Load(); n != before {
		t.Errorf("%d wake-ups", n-before)
	}
}

// Posters race with the end of the loop: every Post that was true runs, no other does, and
// a late Wake writes to no descriptor that is not the loop's.
func TestPostWhileStopping(t *testing.T) { eachEngine(t, testPostWhileStopping) }

func testPostWhileStopping(t *testing.T) {
	for range 20 {
		p := &probe{}
		makeLoop(t, p, Config{})
		ended := make(chan error, 1)
		go func() { ended <- p.loop.Run(p) }()
		var taken, ran atomic.Int64
		var all sync.WaitGroup
		for range 3 {
			all.Add(1)
			go func() {
				defer all.Done()
				for p.loop.Post(func() { ran.Add(1) }) {
					taken.Add(1)
					p.loop.Wake()
				}
			}()
		}
		time.Sleep(time.Millisecond) // any moment will do
		p.loop.Stop()
		if err := within(t, ended); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		if taken.Load() != ran.Load() {
			t.Fatalf("%d posts taken, %d ran", taken.Load(), ran.Load())
		}
	}
}

// Posted functions come before Woken, and functions they post in the next turn.
func TestPostOrder(t *testing.T) { eachEngine(t, testPostOrder) }

func testPostOrder(t *testing.T) {
	p := &probe{}
	makeLoop(t, p, Config{})
	events := make(chan string, 10)
	p.woken = func() { events <- "woken" }
	p.loop.Post(func() {
		events <- "first"
		p.loop.Post(func() { events <- "third"; p.woken = nil })
	})
	p.loop.Post(func() { events <- "second" })
	startLoop(t, p)
	for _, want := range []string{"first", "second", "woken", "third"} {
		if got := within(t, events); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// A Stop before Run ends it at once, and frees what the loop holds.
func TestStopBeforeRun(t *testing.T) { eachEngine(t, testStopBeforeRun) }

func testStopBeforeRun(t *testing.T) {
	p := &probe{}
	makeLoop(t, p, Config{})
	ran := false
	p.loop.Post(func() { ran = true })
	p.loop.Stop()
	if err := p.loop.Run(p); err != nil || !ran {
		t.Errorf("Run: %v; posted function ran: %v", err, ran)
	}
}

func TestConfigErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		id   int
		cfg  Config
	}{
		{"negative id", -1, Config{}},
		{"id over 8 bits", 256, Config{}},
		{"too many connections", 0, Config{MaxConns: 1<<24 + 1}},
		{"negative arena", 0, Config{ArenaBytes: -1}},
		{"arena under a share", 0, Config{ArenaBytes: 100, ReceiveBytes: 200}},
		{"negative share", 0, Config{ReceiveBytes: -1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := NewEpoll(c.id, c.cfg); err == nil {
				t.Error("no error")
			}
		})
	}
}
