package pace

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPace feeds turns at steady rates and looks when a loop begins and ends to gather.
func TestPace(t *testing.T) {
	const budget = 50 * time.Microsecond
	for _, tt := range []struct {
		name     string
		budget   time.Duration
		interval time.Duration // of turns
		events   int           // of each
		want     time.Duration
		enough   int
	}{
		{"off", 0, 10 * time.Microsecond, 10, 0, 0},
		{"idle", budget, time.Second, 1, 0, 0},
		{"lonely packets", budget, budget, 1, 0, 0},
		{"two in the time", budget, budget / 2, 1, 0, 0},
		{"three in the time", budget, budget / 3, 1, budget, 3},
		{"nearly four", budget, budget * 10 / 39, 1, budget, 4},
		{"busy", budget, budget, 10, budget, gatherMost},
		{"rare but deep turns", budget, time.Millisecond, 100, budget, 5},
		{"timers only", budget, 10 * time.Microsecond, 0, 0, 0},
	} {
		p := Pace{budget: tt.budget}
		now := int64(time.Hour)
		for range 1000 {
			step := max(tt.interval, p.Wait) // in which as many more have come
			now += int64(step)
			p.Turn(now, tt.events*int((step+tt.interval/2)/tt.interval))
		}
		if p.Wait != tt.want || p.Enough != tt.enough {
			t.Errorf("%s: waits %v or for %d, want %v, %d", tt.name, p.Wait, p.Enough, tt.want,
				tt.enough)
		}
		// A lull ends it with the first turn that comes after.
		now += int64(time.Second)
		p.Turn(now, 1)
		if p.Wait != 0 {
			t.Errorf("%s: waits %v after a second of silence", tt.name, p.Wait)
		}
	}
}

// TestPaceOfAnswers: events of which each is caused by the turn before do not gather; after a wait
// in vain there is a pause.
func TestPaceOfAnswers(t *testing.T) {
	p := Pace{budget: 50 * time.Microsecond}
	now := int64(time.Hour)
	var waited time.Duration
	for begin := now; now < begin+int64(time.Second); {
		now += int64(10*time.Microsecond + p.Wait)
		waited += p.Wait
		p.Turn(now, 1)
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
