package pace

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPace feeds turns at steady rates and looks when a loop begins and ends to gather.
func TestPace(t *testing.T) {
	const (
		budget = 250 * time.Microsecond
		spare  = budget / spareParts
		cheap  = spare / sleepsWorth
		dear   = budget/sleepsWorth + 10*time.Nanosecond // what is believed ends a few short of it
	)
	for _, tt := range []struct {
		name     string
		budget   time.Duration
		interval time.Duration // of turns
		events   int           // of each
		share    float64       // of a processor
		sleep    time.Duration // what one costs
		bytes    int           // of an event
		want     time.Duration
		enough   int
	}{
		{"off", 0, 10 * time.Microsecond, 10, 1, dear, 1400, 0, 0},
		{"idle", budget, time.Second, 1, 0, dear, 1400, 0, 0},
		{"lonely packets", budget, spare, 1, 0.1, dear, 1400, 0, 0},
		{"two in the time", budget, spare / 2, 1, 0.1, dear, 1400, 0, 0},
		{"three in the time", budget, spare / 3, 1, 0.1, dear, 1400, spare, 3},
		{"nearly four", budget, spare * 10 / 39, 1, 0.36, dear, 1400, spare, 4},
		{"busy", budget, spare, 10, 0.36, dear, 1400, spare, gatherMost},
		{"rare but deep turns", budget, time.Millisecond, 100, 0.3, dear, 1400, spare, 5},
		{"half of the way from spare to scarce", budget, spare, 10, 0.3901, dear, 1400, 3 * spare,
			3 * gatherMost},
		{"scarce", budget, spare, 10, 0.421, dear, 1400, budget, 5 * gatherMost},
		{"none left", budget, spare, 10, 1, dear, 1400, budget, 5 * gatherMost},
		{"scarce, sleeps cheap", budget, spare, 10, 1, cheap, 1400, spare, gatherMost},
		{"scarce, sleeps half as dear", budget, spare, 10, 1, dear / 2, 1400, budget / 2, 12},
		{"scarce, sleeps twice as dear", budget, spare, 10, 1, 2 * dear, 1400, budget, 5 * gatherMost},
		{"scarce, deep receives", budget, spare, 10, 1, dear, bytesDeep, budget, 5 * gatherMost},
		{"scarce, half full receives", budget, spare, 10, 1, dear, bytesDeep*3/2 - 20, 3 * spare,
			3 * gatherMost},
		{"scarce, full receives", budget, spare, 10, 1, dear, bytesFull, spare, gatherMost},
		{"dear packets, lonely in the spare time", budget, spare / 2, 1, 0.6, dear, 1400, budget, 10},
		{"dear packets, lonely in all of it", budget, budget / 2, 1, 0.6, dear, 1400, 0, 0},
		{"timers only", budget, 10 * time.Microsecond, 0, 1, dear, 1400, 0, 0},
	} {
		p := New(tt.budget)
		now := int64(time.Hour)
		p.Used = func() int64 { return int64(tt.share * float64(now)) }
		p.try = func() int64 { return int64(tt.sleep) }
		for range 30_000 {
			step := max(tt.interval, p.Wait) // in which as many more have come
			now += int64(step)
			n := tt.events * int((step+tt.interval/2)/tt.interval)
			p.Turn(now, n, n*tt.bytes)
		}
		if wait := p.Wait.Round(time.Microsecond); wait != tt.want || p.Enough != tt.enough {
			t.Errorf("%s: waits %v or for %d, want %v, %d", tt.name, p.Wait, p.Enough, tt.want,
				tt.enough)
		}
		// A lull ends it with the first turn that comes after.
		now += int64(time.Second)
		p.Turn(now, 1, 0)
		if p.Wait != 0 {
			t.Errorf("%s: waits %v after a second of silence", tt.name, p.Wait)
		}
	}
}

// TestPaceFollowsTheProcessor: a thread whose turns cost so much that short waits leave it little of
// a processor comes to rest at a wait in between, and is back at the short one when they become
// cheap.
func TestPaceFollowsTheProcessor(t *testing.T) {
	const (
		budget = 500 * time.Microsecond
		spare  = budget / spareParts
		µs     = time.Microsecond
	)
	p := New(budget)
	now, used := int64(time.Hour), 0.0
	p.Used = func() int64 { return int64(used) }
	p.try = func() int64 { return int64(budget / sleepsWorth) }
	run := func(turnCost, eventCost time.Duration) (lowest, highest time.Duration) {
		lowest = budget
		for begin := now; now < begin+int64(20*time.Second); {
			step := max(p.Wait, 5*µs)
			events := int(step / (5 * µs))
			now += int64(step)
			used += float64(turnCost) + float64(events)*float64(eventCost)
			p.Turn(now, events, 0)
			if now > begin+int64(10*time.Second) {
				lowest, highest = min(lowest, p.Wait), max(highest, p.Wait)
			}
		}
		return lowest, highest
	}
	for _, tt := range []struct {
		name            string
		turn, event     time.Duration
		lowest, highest time.Duration
	}{
		{"cheap turns", 5 * µs, 1500, spare, spare},
		{"dear turns", 20 * µs, 1500, spare + 50*µs, budget - 50*µs},
		{"dear events", 20 * µs, 4000, budget - 5*µs, budget},
		{"cheap again", 5 * µs, 1500, spare, spare},
	} {
		lowest, highest := run(tt.turn, tt.event)
		if lowest < tt.lowest || highest > tt.highest || highest-lowest > budget/10 {
			t.Errorf("%s: waits of %v to %v, want such between %v and %v that keep still", tt.name,
				lowest, highest, tt.lowest, tt.highest)
		}
	}
}

// TestThreadTime: what a thread computes counts, and what it waits does not.
func TestThreadTime(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p := New(time.Hour)
	before := p.Used()
	Nap(20 * time.Millisecond)
	if used := p.Used() - before; used > int64(10*time.Millisecond) {
		t.Errorf("a nap of 20 ms used %v", time.Duration(used))
	}
	if cost := trySleep(); cost <= 0 || cost > int64(10*time.Millisecond) {
		t.Errorf("a sleep cost %v", time.Duration(cost))
	}
	for began := time.Now(); p.Used()-before < int64(10*time.Millisecond); {
		if time.Since(began) > 10*time.Second {
			t.Fatal("10 s of looking at the clock have not used 10 ms")
		}
	}
}

// TestPaceOfAnswers: events of which each is caused by the turn before do not gather; after a wait
// in vain there is a pause.
func TestPaceOfAnswers(t *testing.T) {
	p := New(150 * time.Microsecond)
	p.Used = func() int64 { return 0 }
	now := int64(time.Hour)
	var waited time.Duration
	for begin := now; now < begin+int64(time.Second); {
		now += int64(10*time.Microsecond + p.Wait)
		waited += p.Wait
		p.Turn(now, 1, 0)
	}
	if waited == 0 || waited > 30*time.Millisecond {
		t.Errorf("waited %v of a second in vain", waited)
	}
}

func TestPaceRest(t *testing.T) {
	p := Pace{budget: 50, Wait: 50}
	for _, tt := range []struct {
		took int64
		want time.Duration
	}{{0, 50}, {20, 30}, {50, 0}, {90, -40}} {
		if got := p.Rest(1000, 1000+tt.took); got != tt.want {
			t.Errorf("after a turn of %d: %d, want %d", tt.took, got, tt.want)
		}
	}
}

// TestTimerSlack looks whether a loop leaves its thread as it was.
func TestTimerSlack(t *testing.T) {
	slack := func() time.Duration {
		n, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(n)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := slack()
	for budget, want := range map[time.Duration]time.Duration{0: before, time.Hour: timerSlack} {
		p := Pace{budget: budget}
		end := p.Begin()
		if got := slack(); got != want {
			t.Errorf("budget %v: %v, want %v", budget, got, want)
		}
		end()
		if got := slack(); got != before {
			t.Errorf("budget %v: %v afterwards, was %v", budget, got, before)
		}
	}
}

// BenchmarkSleep tells what a short sleep costs its thread, in ns of processor time.
func BenchmarkSleep(b *testing.B) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p := New(time.Second)
	defer p.Begin()()
	var cost int64
	for b.Loop() {
		cost += trySleep()
	}
	b.ReportMetric(float64(cost)/float64(b.N), "cpu-ns/op")
}
