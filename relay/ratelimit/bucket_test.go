package ratelimit

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

const sec = int64(time.Second)

func TestBucketSize(t *testing.T) {
	if n := unsafe.Sizeof(Bucket{}); n > 24 {
		t.Errorf("a Bucket has %d bytes, more than 24", n)
	}
}

// Each step is a Take and the wait it must give.
func TestTake(t *testing.T) {
	type step struct {
		now  int64
		lim  *Limits
		n    int
		wait time.Duration
	}
	slow := &Limits{BytesPerSec: 1000, BurstBytes: burstBytesMin}
	fast := &Limits{BytesPerSec: 1 << 20, BurstBytes: burstBytesMin}
	off := &Limits{}
	const all = burstBytesMin
	for name, steps := range map[string][]step{
		"a full bucket gives its burst at once": {
			{5 * sec, slow, all, 0},
			{5 * sec, slow, 1, time.Millisecond},
		},
		"it fills with time": {
			{5 * sec, slow, all, 0},
			{6 * sec, slow, 1000, 0},
			{6 * sec, slow, 500, 500 * time.Millisecond},
		},
		"but not beyond the burst": {
			{5 * sec, slow, 1000, 0},
			{500 * sec, slow, all, 0},
			{500 * sec, slow, 1, time.Millisecond},
		},
		"debts add up within a batch": {
			{5 * sec, slow, all, 0},
			{5 * sec, slow, 1000, time.Second},
			{5 * sec, slow, 1000, 2 * time.Second},
			{5 * sec, slow, 0, 2 * time.Second},
		},
		"a pause that was not kept is still owed": {
			{5 * sec, slow, all, 0},
			{5 * sec, slow, 2000, 2 * time.Second},
			{6 * sec, slow, 0, time.Second},
			{7 * sec, slow, 0, 0},
		},
		"a frame longer than any is charged as the longest": {
			{5 * sec, slow, math.MaxInt, 0},
			{5 * sec, slow, 1, time.Millisecond},
		},
		"a negative length is none": {
			{5 * sec, slow, -all, 0},
			{5 * sec, slow, all, 0},
			{5 * sec, slow, 1, time.Millisecond},
		},
		"no limit": {
			{5 * sec, off, all, 0},
			{5 * sec, off, all, 0},
		},
		"new limits begin with a full bucket": {
			{5 * sec, slow, all, 0},
			{5 * sec, slow, 1000, time.Second},
			{5 * sec, fast, 0, 0},
			{5 * sec, fast, all, 0},
			{5 * sec, fast, 1 << 11, time.Second / (1 << 9)},
		},
		"limits that are turned off and on": {
			{5 * sec, slow, all, 0},
			{5 * sec, slow, 1000, time.Second},
			{5 * sec, off, 1000, 0},
			{5 * sec, slow, all, 0},
			{5 * sec, slow, 1000, time.Second},
		},
		"limits of the same value elsewhere change nothing": {
			{5 * sec, slow, all, 0},
			{5 * sec, &Limits{BytesPerSec: 1000, BurstBytes: burstBytesMin}, 1000, time.Second},
		},
		"time that steps back gives nothing": {
			{5 * sec, slow, all, 0},
			{4 * sec, slow, 0, time.Second},
			{5 * sec, slow, 0, 0},
			{5 * sec, slow, 1000, time.Second},
		},
		"a loop whose time begins at 0": {
			{0, slow, all, 0},
			{0, slow, 1, time.Millisecond},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b Bucket
			for i, s := range steps {
				if wait := b.Take(s.now, s.lim, s.n); wait != s.wait {
					t.Errorf("step %d: %v, want %v", i, wait, s.wait)
				}
			}
		})
	}
}

func TestTakeExtremes(t *testing.T) {
	for _, lim := range []Limits{
		{1, math.MaxUint64}, {math.MaxUint64, math.MaxUint64}, {math.MaxUint64, burstBytesMin},
		{1, burstBytesMin}, {1, 0},
	} {
		var b Bucket
		var last time.Duration
		for range 1000 {
			wait := b.Take(math.MaxInt64/4, &lim, frameBytesMax)
			if wait < last {
				t.Fatalf("%v: the wait went from %v to %v", lim, last, wait)
			}
			last = wait
		}
		switch {
		case lim == Limits{1, burstBytesMin} && last != 999*frameBytesMax*time.Second:
			t.Errorf("%v: %v", lim, last)
		case lim.BytesPerSec > 1 && last != 0:
			t.Errorf("%v: %v, want 0", lim, last)
		}
	}
}

// model is the token bucket of golang.org/x/time/rate, as its documentation has it: WaitN
// reserves n tokens, which may leave less than none, and sleeps until there are none owed.
type model struct {
	perSec, burst, tokens float64
	last                  int64
}

func newModel(l Limits) *model {
	return &model{perSec: float64(l.BytesPerSec), burst: float64(l.BurstBytes),
		tokens: float64(l.BurstBytes)}
}

func (m *model) waitN(now int64, n int) time.Duration {
	if m.perSec == 0 {
		return 0
	}
	m.tokens = min(m.burst, m.tokens+float64(now-m.last)/1e9*m.perSec)
	m.last = now
	m.tokens -= float64(min(n, frameBytesMax))
	if m.tokens >= 0 {
		return 0
	}
	return time.Duration(-m.tokens / m.perSec * 1e9)
}

// TestTakeIsWaitN reads random frames through a bucket and through the model, by a reader
// that keeps every pause, and one that takes batches; limits change on the way.
func TestTakeIsWaitN(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		pick := func() Limits {
			if r.IntN(8) == 0 {
				return Limits{}
			}
			rate := uint64(1000 * math.Pow(10, 5*r.Float64())) // 1 KB/s to 100 MB/s
			return New(rate, uint64(float64(rate)*r.Float64()*3))
		}
		lim := pick()
		m := newModel(lim)
		var b Bucket
		now := int64(r.Uint32())
		m.last = now
		frames := 0
		for range 2000 {
			if r.IntN(200) == 0 {
				next := pick()
				if next != lim {
					lim, m, frames = next, newModel(next), 0
					m.last = now
				}
			}
			n := r.IntN(2000)
			if r.IntN(10) == 0 {
				n = r.IntN(100_000)
			}
			frames++
			got, want := b.Take(now, &lim, n), m.waitN(now, n)
			// Half a nanosecond for each frame, as rounding has it, and the floating
			// point's own.
			slack := time.Duration(frames)/2 + 2 + want/1e9
			if d := got - want; d > slack || d < -slack {
				t.Fatalf("seed %d, frame %d of %d bytes, %v: wait %v, want %v", seed, frames, n,
					lim, got, want)
			}
			switch r.IntN(4) {
			case 0: // the next of a batch
			case 1:
				now += int64(want) + r.Int64N(sec)
			default:
				now += int64(want)
			}
		}
	}
}

// TestTakeHoldsTheRate offers more than the rate, for a simulated minute or many frames. At
// 1 GB/s a frame of 8 bytes is 7 ns instead of 7.45, which is the worst that rounding does.
func TestTakeHoldsTheRate(t *testing.T) {
	for _, lim := range []Limits{New(10_000, 0), New(1_250_000, 2_500_000), New(1<<30, 0)} {
		for _, n := range []int{8, 1437, 65568} {
			var b Bucket
			var now, taken int64
			for frames := 0; now < 60*sec && frames < 1_000_000; frames++ {
				now += int64(b.Take(now, &lim, n))
				taken += int64(n)
			}
			if now == 0 {
				t.Fatalf("%v: never held back", lim)
			}
			rate := float64(taken-int64(lim.BurstBytes)) / (float64(now) / 1e9)
			if rate/float64(lim.BytesPerSec) > 1.08 || rate/float64(lim.BytesPerSec) < 0.92 {
				t.Errorf("%v with frames of %d: %.0f bytes/s", lim, n, rate)
			}
		}
	}
}

func TestTakeDoesNotAllocate(t *testing.T) {
	lims := []Limits{New(1_250_000, 0), {}}
	for i := range lims {
		var b Bucket
		var now int64
		if n := testing.AllocsPerRun(1000, func() {
			now += 1000
			b.Take(now, &lims[i], 1437)
		}); n != 0 {
			t.Errorf("%v: %v allocations", lims[i], n)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	lim := New(1_250_000, 2_500_000)
	var bucket Bucket
	var now int64
	for b.Loop() {
		now += 1000
		bucket.Take(now, &lim, 1437)
	}
}
