package netpoll

import (
	"math/rand/v2"
	"testing"
	"time"
)

const wheelTestTimers = 64

// wheelModel is the wheel as one would write it without regard to speed.
type wheelModel struct {
	t     *testing.T
	w     *wheel
	now   int64
	until map[int32]int64 // when each armed timer may fire at the earliest
}

func newWheelModel(t *testing.T) *wheelModel {
	m := &wheelModel{t: t, now: 12_345_678_901, until: map[int32]int64{}}
	m.w = newWheel(m.now)
	m.w.grow(wheelTestTimers)
	return m
}

func (m *wheelModel) set(id int32, d time.Duration) {
	m.w.set(id, m.now, d)
	m.until[id] = m.now + int64(d)
}

func (m *wheelModel) stop(id int32) {
	m.w.stop(id)
	delete(m.until, id)
}

// expire pops all that is due, and reports how many timers that was. during is called after
// each, as a handler would be.
func (m *wheelModel) expire(during func(id int32)) int {
	m.t.Helper()
	count := 0
	for {
		id, ok := m.w.pop(m.now)
		if !ok {
			break
		}
		until, armed := m.until[id]
		if !armed {
			m.t.Fatalf("timer %d fired, but was not armed", id)
		}
		if until > m.now {
			m.t.Fatalf("timer %d fired %v early", id, time.Duration(until-m.now))
		}
		delete(m.until, id)
		count++
		during(id)
	}
	for id, until := range m.until {
		if until+int64(TimerTick) <= m.now {
			m.t.Fatalf("timer %d is %v late", id, time.Duration(m.now-until))
		}
	}
	if m.w.armed != len(m.until) {
		m.t.Fatalf("%d timers armed, want %d", m.w.armed, len(m.until))
	}
	m.checkNext()
	return count
}

// checkNext: whoever sleeps as long as next says misses nothing.
func (m *wheelModel) checkNext() {
	m.t.Helper()
	rest, ok := m.w.next(m.now)
	if ok != (len(m.until) > 0) {
		m.t.Fatalf("next is %v with %d armed", ok, len(m.until))
	}
	for id, until := range m.until {
		if m.now+int64(rest) >= until+int64(TimerTick) {
			m.t.Fatalf("next in %v, but timer %d is due in %v", rest, id,
				time.Duration(until-m.now))
		}
	}
}

// durations of many sizes, about the tick and about a round of the wheel.
func wheelDuration(a, b byte) time.Duration {
	switch a % 5 {
	case 0:
		return 1 + time.Duration(b)*time.Microsecond
	case 1:
		return 1 + time.Duration(b)*time.Millisecond
	case 2:
		return time.Duration(b)*TimerTick + time.Duration(a%3)
	case 3:
		return TimerTick*wheelSlots + (time.Duration(b)-128)*TimerTick
	default:
		return 1 + time.Duration(b)*time.Minute
	}
}

// runWheelScript reads operations of four bytes: what, which timer, how long (two bytes).
func runWheelScript(t *testing.T, script []byte) {
	m := newWheelModel(t)
	for ; len(script) >= 4; script = script[4:] {
		id := int32(script[1]) % wheelTestTimers
		d := max(1, wheelDuration(script[2], script[3]))
		switch script[0] % 8 {
		case 0, 1, 2:
			m.set(id, d)
		case 3:
			m.stop(id)
		case 4: // time passes
			m.now += int64(d)
			m.expire(func(int32) {})
		case 5: // time passes to where the wheel asks for
			if rest, ok := m.w.next(m.now); ok {
				m.now += int64(rest)
				m.expire(func(int32) {})
			}
		case 6: // handlers set the timer that fired again
			m.now += int64(d)
			m.expire(func(fired int32) { m.set(fired, d) })
		case 7: // handlers set and stop others
			m.now += int64(d)
			m.expire(func(fired int32) {
				m.stop((fired + id) % wheelTestTimers)
				m.set((fired+2*id+1)%wheelTestTimers, d)
			})
		}
		m.checkNext()
	}
	for len(m.until) > 0 {
		rest, _ := m.w.next(m.now)
		m.now += int64(rest)
		m.expire(func(int32) {})
	}
}

func TestWheelModel(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		script := make([]byte, 4*300)
		for i := range script {
			script[i] = byte(random.Uint32())
		}
		runWheelScript(t, script)
	}
}

func FuzzWheel(f *testing.F) {
	f.Add([]byte{0, 1, 1, 60, 4, 0, 1, 100, 6, 1, 2, 3})
	f.Add([]byte{0, 1, 3, 128, 0, 2, 3, 129, 5, 0, 0, 0, 5, 0, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		runWheelScript(t, script[:min(len(script), 4000)])
	})
}

func TestWheelTimes(t *testing.T) {
	const tick = TimerTick
	for _, c := range []struct {
		name        string
		d           time.Duration
		still, done time.Duration // does not fire at still, fires at done
	}{
		{"one nanosecond", 1, 0, tick},
		{"just under a tick", tick - 1, tick - 1, tick},
		{"a tick", tick, tick - 1, tick},
		{"just over a tick", tick + 1, tick + 1, 2 * tick},
		{"a round", wheelSlots * tick, wheelSlots*tick - 1, wheelSlots * tick},
		{"over a round", wheelSlots*tick + 1, wheelSlots*tick + 1, (wheelSlots + 1) * tick},
		{"an hour", time.Hour, time.Hour - 1, time.Hour},
		{"for ever", 1 << 62, timeoutMax - 1, timeoutMax},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWheel(7)
			w.grow(1)
			w.set(0, 7, c.d)
			if _, fired := w.pop(7 + int64(c.still)); fired {
				t.Errorf("fires early, at %v", c.still)
			}
			if _, fired := w.pop(7 + int64(c.done)); !fired {
				t.Errorf("does not fire at %v", c.done)
			}
		})
	}
}

// A loop with many timers wakes for them, not for every tick.
func TestWheelSleeps(t *testing.T) {
	m := newWheelModel(t)
	m.w.grow(10_000)
	for id := range int32(10_000) {
		m.w.set(id, m.now, time.Minute)
	}
	rest, ok := m.w.next(m.now)
	if !ok || rest != time.Minute {
		t.Errorf("10,000 timers of a minute: next in %v, want 1m", rest)
	}
	// Pushed back with every packet, they cost one idle wake-up a minute.
	m.now += int64(30 * time.Second)
	for id := range int32(10_000) {
		m.w.set(id, m.now, time.Minute)
	}
	wakes := 0
	for m.w.armed > 0 {
		rest, _ := m.w.next(m.now)
		m.now += int64(rest)
		for {
			if _, ok := m.w.pop(m.now); !ok {
				break
			}
		}
		wakes++
	}
	if wakes != 2 {
		t.Errorf("woke %d times, want 2", wakes)
	}
}

func BenchmarkWheelPushBack(b *testing.B) {
	w := newWheel(0)
	w.grow(1024)
	now := int64(0)
	for i := 0; b.Loop(); i++ {
		now += 1000
		w.set(int32(i)%1024, now, time.Minute)
		w.pop(now)
	}
}
