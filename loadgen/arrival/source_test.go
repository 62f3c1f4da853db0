package arrival

import (
	"math"
	"strings"
	"testing"
	"time"
	"unsafe"

	"derpd/loadgen"
)

var kinds = []loadgen.Arrival{
	{Kind: loadgen.Constant},
	{Kind: loadgen.Poisson},
	{Kind: loadgen.Bursts, Burst: 16},
	{Kind: loadgen.OnOff, On: 20 * time.Millisecond, Off: 80 * time.Millisecond},
}

func take(s *Source, n int) []int64 {
	due := make([]int64, n)
	for i := range due {
		due[i] = s.Due()
		s.Advance()
	}
	return due
}

func TestMeanRate(t *testing.T) {
	const perSecond, n = 1000.0, 400_000
	for _, a := range kinds {
		// The relative deviation of n packets' time, one sigma: for constant none, else by the
		// number of independent draws; an on-off cycle of 0.1 s has 100 packets.
		sigma := map[loadgen.ArrivalKind]float64{loadgen.Constant: 1e-6,
			loadgen.Poisson: 1 / math.Sqrt(n), loadgen.Bursts: 1 / math.Sqrt(n/16),
			loadgen.OnOff: 1.2 / math.Sqrt(n/100)}[a.Kind]
		s := New(a, perSecond, 0, 1, 7)
		due := take(&s, n)
		got := float64(n) / (float64(due[n-1]) / 1e9)
		if math.Abs(got/perSecond-1) > 4*sigma {
			t.Errorf("%s: %.2f a second, want %v ± %.2f %%", a.Kind, got, perSecond, 400*sigma)
		}
	}
}

// Counted over a fixed time from the start, as a step does, the rate holds as well: the beginning
// is not special.
func TestMeanRateFromTheStart(t *testing.T) {
	const senders, window = 2000, int64(50 * time.Millisecond)
	for _, a := range kinds {
		n := 0
		for i := range senders {
			s := New(a, 100, i, senders, 3)
			for ; s.Due() < window; s.Advance() {
				n++
			}
		}
		// 5 packets of each sender; an on-off one has at most its share of on and off drawn.
		if want := 10_000.0; math.Abs(float64(n)-want) > 0.1*want {
			t.Errorf("%s: %d packets in the first %v, want about %v",
				a.Kind, n, time.Duration(window), want)
		}
	}
}

func TestMonotoneAndDeterministic(t *testing.T) {
	for _, a := range kinds {
		s, again, other := New(a, 5000, 3, 8, 1), New(a, 5000, 3, 8, 1), New(a, 5000, 3, 8, 2)
		due, same, differs := take(&s, 20_000), take(&again, 20_000), take(&other, 20_000)
		moved := false
		for i := range due {
			if i > 0 && due[i] < due[i-1] || due[i] < 0 {
				t.Fatalf("%s: %d after %d", a.Kind, due[i], due[max(i-1, 0)])
			}
			if due[i] != same[i] {
				t.Fatalf("%s: packet %d at %d, and at %d from the same seed",
					a.Kind, i, due[i], same[i])
			}
			moved = moved || due[i] != differs[i]
		}
		if random := a.Kind != loadgen.Constant; moved != random {
			t.Errorf("%s: another seed changes it: %v", a.Kind, moved)
		}
	}
}

func TestSendersDiffer(t *testing.T) {
	for _, a := range kinds {
		x, y := New(a, 100, 0, 2, 1), New(a, 100, 1, 2, 1)
		if x.Due() == y.Due() {
			t.Errorf("%s: both senders begin at %d", a.Kind, x.Due())
		}
	}
}

func TestConstantInterleaves(t *testing.T) {
	const senders, perSecond = 8, 250.0 // 4 ms apart, 0.5 ms between senders
	var sources [senders]Source
	for i := range sources {
		sources[i] = New(loadgen.Arrival{Kind: loadgen.Constant}, perSecond, i, senders, 1)
	}
	for round := range 1000 {
		for i := range sources {
			want := int64(round)*4_000_000 + int64(i)*500_000
			if got := sources[i].Due(); got < want-1 || got > want+1 {
				t.Fatalf("sender %d, packet %d: due at %d, want %d", i, round, got, want)
			}
			sources[i].Advance()
		}
	}
}

// An exponential distribution has a standard deviation equal to its mean, and e^-1 of it above.
func TestPoissonSpaces(t *testing.T) {
	const n = 200_000
	s := New(loadgen.Arrival{Kind: loadgen.Poisson}, 100, 0, 1, 5)
	due := take(&s, n+1)
	var sum, squares float64
	above := 0
	for i := range n {
		d := float64(due[i+1] - due[i])
		sum, squares = sum+d, squares+d*d
		if d > 1e7 {
			above++
		}
	}
	mean := sum / n
	if cv := math.Sqrt(squares/n-mean*mean) / mean; math.Abs(cv-1) > 0.02 {
		t.Errorf("coefficient of variation %.3f, want 1", cv)
	}
	if share := float64(above) / n; math.Abs(share-1/math.E) > 0.01 {
		t.Errorf("%.3f of the spaces are above the mean, want %.3f", share, 1/math.E)
	}
}

func TestBurstSizes(t *testing.T) {
	const burst, bursts = 7, 5000
	s := New(loadgen.Arrival{Kind: loadgen.Bursts, Burst: burst}, 100, 0, 1, 5)
	due := take(&s, burst*bursts)
	for i := range due {
		if first := due[i-i%burst]; due[i] != first {
			t.Fatalf("packet %d at %d, its burst at %d", i, due[i], first)
		}
		if i > 0 && i%burst == 0 && due[i] == due[i-1] {
			t.Fatalf("two bursts at %d", due[i])
		}
	}
}

func TestOnOffDuty(t *testing.T) {
	const on, off = 30 * time.Millisecond, 90 * time.Millisecond
	// While on: 1000 × 120/30 = 4000 a second, 250 µs apart.
	s := New(loadgen.Arrival{Kind: loadgen.OnOff, On: on, Off: off}, 1000, 0, 1, 9)
	due := take(&s, 500_000)
	var pauses, paused float64
	for i := range len(due) - 1 {
		d := due[i+1] - due[i]
		if d < 249_999 {
			t.Fatalf("%d ns apart, less than while on", d)
		}
		if d > 250_001 {
			pauses++
			paused += float64(d - 250_000)
		}
	}
	total := float64(due[len(due)-1])
	// Of the cycles some 1/120 hide in one space of packets: they count as one pause.
	if mean := paused / pauses; math.Abs(mean/float64(off)-1) > 0.06 {
		t.Errorf("mean pause %v, want %v", time.Duration(mean), off)
	}
	if duty := 1 - paused/total; math.Abs(duty-0.25) > 0.015 {
		t.Errorf("on for %.3f of the time, want 0.25", duty)
	}
	if cycle := total / pauses; math.Abs(cycle/float64(on+off)-1) > 0.06 {
		t.Errorf("mean cycle %v, want %v", time.Duration(cycle), on+off)
	}
}

// A sender that says little and switches often must not cost a walk over all its switching.
func TestOnOffOfManyCyclesIsConstant(t *testing.T) {
	a := loadgen.Arrival{Kind: loadgen.OnOff, On: time.Millisecond, Off: time.Millisecond}
	s := New(a, 0.001, 1, 4, 9)
	for i := range 1000 {
		if want := int64(250e9 + 1e12*float64(i)); s.Due() != want {
			t.Fatalf("packet %d at %d, want %d", i, s.Due(), want)
		}
		s.Advance()
	}
}

func TestNever(t *testing.T) {
	for _, rate := range []float64{0, -1, math.NaN()} {
		s := New(loadgen.Arrival{}, rate, 0, 1, 1)
		s.Advance()
		if s.Due() != math.MaxInt64 {
			t.Errorf("at rate %v due at %d", rate, s.Due())
		}
	}
	if s := New(kinds[0], 1e-12, 1, 2, 1); s.Due() != math.MaxInt64 {
		t.Errorf("once in 30,000 years is due at %d", s.Due())
	}
}

func TestCheck(t *testing.T) {
	for _, a := range kinds {
		if err := Check(a); err != nil {
			t.Error(err)
		}
	}
	for _, tt := range []struct {
		arrival loadgen.Arrival
		says    []string
	}{
		{loadgen.Arrival{}, []string{`""`, `"constant", "poisson", "bursts" or "on-off"`}},
		{loadgen.Arrival{Kind: "uniform"}, []string{`"uniform"`, `use "constant"`}},
		{loadgen.Arrival{Kind: loadgen.Bursts}, []string{"0 packets", "give 1 to"}},
		{loadgen.Arrival{Kind: loadgen.Bursts, Burst: -5}, []string{"-5 packets"}},
		{loadgen.Arrival{Kind: loadgen.Bursts, Burst: 1 << 31}, []string{"2147483648", "1000000"}},
		{loadgen.Arrival{Kind: loadgen.OnOff, Off: time.Second}, []string{"on is 0s", "give 1ms"}},
		{loadgen.Arrival{Kind: loadgen.OnOff, On: time.Second}, []string{"off is 0s", "constant"}},
		{loadgen.Arrival{Kind: loadgen.OnOff, On: time.Second, Off: time.Microsecond},
			[]string{"off is 1µs"}},
		{loadgen.Arrival{Kind: loadgen.OnOff, On: 25 * time.Hour, Off: time.Second},
			[]string{"on is 25h", "24h"}},
	} {
		err := Check(tt.arrival)
		if err == nil {
			t.Errorf("%+v is accepted", tt.arrival)
			continue
		}
		for _, part := range tt.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%+v: %q does not say %s", tt.arrival, err, part)
			}
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("New takes what Check refuses")
		}
	}()
	New(loadgen.Arrival{Kind: "uniform"}, 1, 0, 1, 1)
}

func TestSourceIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Source{}); n > 64 {
		t.Errorf("%d bytes", n)
	}
	for _, a := range kinds {
		s := New(a, 1e6, 0, 1, 1)
		if n := testing.AllocsPerRun(1000, s.Advance); n != 0 {
			t.Errorf("%s: %v allocations", a.Kind, n)
		}
	}
}

func BenchmarkAdvance(b *testing.B) {
	for _, a := range kinds {
		b.Run(string(a.Kind), func(b *testing.B) {
			s := New(a, 1e4, 0, 1, 1)
			var last int64
			b.ReportAllocs()
			for b.Loop() {
				last = s.Due()
				s.Advance()
			}
			if s.Due() < last {
				b.Fatal("backwards")
			}
		})
	}
}
