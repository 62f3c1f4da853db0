package runner

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"derpd/bench"
	"derpd/loadgen"
)

// perPacket plays one step and records what a packet cost.
func perPacket(name string, rounds int) Scenario {
	return Scenario{Name: name, Rounds: rounds, Play: func(ctx context.Context, s *Session) error {
		if _, err := s.Ramp(ctx, loadgen.Workload{Idle: 10}); err != nil {
			return err
		}
		m, err := s.Step(ctx, loadgen.Step{Rate: 1000, Window: time.Second})
		if err != nil {
			return err
		}
		all, user, system := m.CPUMicros()
		s.Add("1k", bench.CPU, all, 1000, m)
		s.Add("1k", bench.CPUUser, user, 1000, m)
		s.Add("1k", bench.CPUSystem, system, 1000, m)
		s.Add("1k", bench.Delivered, m.PerSecond(), 1000, m)
		return nil
	}}
}

func (b *fakeBed) runner(peers ...string) *Runner {
	r := &Runner{Bed: b, NoiseMax: .05, Reference: "derper", Say: func(string, ...any) {}}
	for _, name := range peers {
		r.Peers = append(r.Peers, bench.Peer{Name: name})
	}
	return r
}

func TestPeersTakeTurns(t *testing.T) {
	b := newBed()
	b.micros["a"], b.micros["b"] = 5, 10
	var into bench.Report
	b.runner("a", "b").Run(t.Context(), []Scenario{perPacket("x", 3), perPacket("y", 1)}, &into)
	if got := strings.Join(b.launched, " "); got != "a b a b a b a b" {
		t.Errorf("turns %q", got)
	}
	if b.running != 0 {
		t.Errorf("%d relays still run", b.running)
	}
	for peer, want := range b.micros {
		res := into.Result("x", peer)
		f := res.Figure("1k", bench.CPU)
		if f == nil || !slices.Equal(f.Samples, []float64{want, want, want}) ||
			!slices.Equal(f.Rounds, []int{1, 2, 3}) || res.Error != "" || len(res.Rounds) != 3 {
			t.Errorf("%s: %+v of %+v", peer, f, res)
		}
		if u := res.Figure("1k", bench.CPUUser).Samples[0]; u != want/4 {
			t.Errorf("%s: %v µs in the program, want a quarter of %v", peer, u, want)
		}
		if d := res.Figure("1k", bench.Delivered).Samples[0]; d != 1000 {
			t.Errorf("%s: %v packets a second", peer, d)
		}
	}
	if into.Partial || into.Failed() || len(into.Notes) > 0 {
		t.Errorf("%+v", into)
	}
}

func TestDisturbedTurnsAreRepeated(t *testing.T) {
	b := newBed()
	b.noise = []float64{0, .5, 0, 0} // of the steps, in their order
	var into bench.Report
	b.runner("a").Run(t.Context(), []Scenario{perPacket("x", 3)}, &into)
	res := into.Result("x", "a")
	if len(res.Rounds) != 4 || res.Rounds[1].Used || res.Rounds[1].Other < .45 ||
		res.Rounds[2].Attempt != 2 || res.Rounds[2].Number != 2 || !res.Rounds[2].Used {
		t.Errorf("%+v", res.Rounds)
	}
	if f := res.Figure("1k", bench.CPU); len(f.Samples) != 3 || res.Error != "" {
		t.Errorf("%+v", f)
	}
}

func TestNoisyMachine(t *testing.T) {
	b := newBed()
	b.noise = slices.Repeat([]float64{.3}, 100)
	var into bench.Report
	b.runner("a").Run(t.Context(), []Scenario{perPacket("x", 10)}, &into)
	res := into.Result("x", "a")
	if !strings.Contains(res.Error, "no round was quiet") || !strings.Contains(res.Error, "30 %") ||
		len(res.Figures) > 0 {
		t.Errorf("%+v", res)
	}
	// Two repeats are 15 % of ten turns, rounded up.
	if len(b.launched) != 12 {
		t.Errorf("%d turns", len(b.launched))
	}
	b = newBed()
	b.noise = append([]float64{0}, slices.Repeat([]float64{.3}, 10)...)
	b.runner("a").Run(t.Context(), []Scenario{perPacket("x", 2)}, &into)
	res = into.Result("x", "a")
	if res.Error != "" || len(res.Remarks) != 1 ||
		!strings.Contains(res.Remarks[0], "1 of 2 rounds were disturbed") {
		t.Errorf("%+v", res)
	}
}

func TestFailures(t *testing.T) {
	for name, want := range map[string]string{
		"absent": "does not come up\nit last logged: no such file",
		"deaf":   "no client could log in\nit last logged: mode deaf",
		"some":   "3 of 10 clients could not log in",
		"forge":  "to or from a wrong key",
		"dies":   "round 2: the fleet is broken\nit last logged: fatal",
	} {
		b := newBed()
		b.fails = name
		var into bench.Report
		b.runner("good", name).Run(t.Context(), []Scenario{perPacket("x", 2)}, &into)
		bad, good := into.Result("x", name), into.Result("x", "good")
		if !strings.Contains(bad.Error, want) {
			t.Errorf("%s: the error is %q, want %q", name, bad.Error, want)
		}
		if good.Error != "" || len(good.Figure("1k", bench.CPU).Samples) != 2 {
			t.Errorf("%s: the other peer's rows do not stand: %+v", name, good)
		}
		if samples := bad.Figure("1k", bench.CPU).Summary().N; (name == "dies") != (samples == 1) {
			t.Errorf("%s: %d samples of earlier rounds", name, samples)
		}
		if b.running != 0 {
			t.Errorf("%s: %d relays still run", name, b.running)
		}
	}
}

func TestLossIsRemarked(t *testing.T) {
	for name, want := range map[string]string{
		"loses":  "at 1000 packets/s: 5 packets were lost that nobody accounts for",
		"silent": "2 of 10 clients did not answer",
		"mute":   "", // does not tell what it drops
	} {
		b := newBed()
		b.fails = name
		var into bench.Report
		b.runner(name).Run(t.Context(), []Scenario{perPacket("x", 2)}, &into)
		res := into.Result("x", name)
		got := strings.Join(res.Remarks, "\n")
		if res.Error != "" || len(res.Figures) != 4 || want == "" && got != "" ||
			want != "" && (!strings.Contains(got, want) || len(res.Remarks) != 1) {
			t.Errorf("%s: %+v, want the remark %q", name, res, want)
		}
	}
}

// TestRelayThatDoesNotDoWhatIsAsked: it has failed in that round, whose figures stand.
func TestRelayThatDoesNotDoWhatIsAsked(t *testing.T) {
	rounds := 0
	measured := perPacket("x", 3)
	s := measured
	s.Play = func(ctx context.Context, s *Session) error {
		if rounds++; rounds == 2 {
			s.Fail("%d clients were not back", 7)
			s.Fail("others starved")
		}
		return measured.Play(ctx, s)
	}
	b := newBed()
	var into bench.Report
	b.runner("a").Run(t.Context(), []Scenario{s}, &into)
	res := into.Result("x", "a")
	const want = "round 2: 7 clients were not back\nothers starved\nit last logged: mode a"
	if res.Error != want || !into.Failed() || rounds != 2 {
		t.Errorf("after %d rounds the error is %q, want %q", rounds, res.Error, want)
	}
	if f := res.Figure("1k", bench.CPU); !slices.Equal(f.Rounds, []int{1, 2}) {
		t.Errorf("%+v", f)
	}

	// Others may be why it failed.
	rounds, b = 0, newBed()
	b.noise = []float64{0, .5}
	b.runner("a").Run(t.Context(), []Scenario{s}, &into)
	if res = into.Result("x", "a"); res.Error != "" || rounds != 4 || res.Rounds[1].Used {
		t.Errorf("disturbed: after %d rounds %+v", rounds, res)
	}
}

// TestFoundLoads keeps apart what was searched for from what was asked for.
func TestFoundLoads(t *testing.T) {
	s := Scenario{Name: "x", Rounds: 2, Play: func(_ context.Context, s *Session) error {
		s.AddFound("a", bench.CPU, 5, 81_000, nil)
		s.AddFound("a", bench.CPUUser, math.NaN(), 81_000, nil)
		s.Add("b", bench.CPU, 5, 60_000, nil)
		return nil
	}}
	var into bench.Report
	newBed().runner("p").Run(t.Context(), []Scenario{s}, &into)
	res := into.Result("x", "p")
	if a, b := res.Figure("a", bench.CPU), res.Figure("b", bench.CPU); !a.Found || a.Load != 81_000 ||
		len(a.Samples) != 2 || b.Found || res.Figure("a", bench.CPUUser) != nil {
		t.Errorf("%+v", res.Figures)
	}
}

func TestKneeIsTheReferences(t *testing.T) {
	var loads []float64
	needs := Scenario{Name: "z", Rounds: 1, Knee: true,
		Play: func(_ context.Context, s *Session) error {
			loads = append(loads, s.Knee)
			return nil
		}}
	finds := Scenario{Name: KneeScenario, Rounds: 3,
		Play: func(_ context.Context, s *Session) error {
			if s.Peer.Name == "derper" {
				s.Add(KneeLoad, bench.Delivered, 81_000, 0, nil)
			}
			return nil
		}}
	var into bench.Report
	newBed().runner("a", "derper").Run(t.Context(), []Scenario{finds, needs}, &into)
	if !slices.Equal(loads, []float64{68_000, 68_000}) || into.KneeTLS != 68_000 {
		t.Errorf("loads %v, knee %v", loads, into.KneeTLS)
	}
	loads = nil
	r := newBed().runner("a", "derper")
	r.Run(t.Context(), []Scenario{needs}, &into)
	if len(loads) > 0 || !strings.Contains(into.Result("z", "a").Error, `knee of "derper"`) {
		t.Errorf("without a knee: loads %v, %+v", loads, into.Results)
	}
	r.Knee = 12_345 // of an earlier report
	r.Run(t.Context(), []Scenario{needs}, &into)
	if !slices.Equal(loads, []float64{12_345, 12_345}) {
		t.Errorf("with a given knee: %v", loads)
	}
}

func TestRoundLoad(t *testing.T) {
	for in, want := range map[float64]float64{0: 0, 9: 8.2, 10: 10, 80_000: 68_000, 82_000: 82_000,
		99_999: 82_000, 120_000: 120_000, 119_000: 100_000} {
		if got := roundLoad(in); got < want*.999 || got > want*1.001 {
			t.Errorf("%v is rounded to %v, want %v", in, got, want)
		}
	}
}

var countsOfTheFake = Counts{Syscalls: 6, Working: 3, Allocs: .5, Exchange: Exchange{Crossed: .5}}

func TestCounts(t *testing.T) {
	b := newBed()
	var got Counts
	enough := 0
	count := Scenario{Name: "c", Rounds: 1, Play: func(ctx context.Context, s *Session) (err error) {
		if _, err = s.Ramp(ctx, loadgen.Workload{Idle: 10}); err == nil {
			got, err = s.Count(ctx, loadgen.Step{Rate: 1000, Window: time.Second}, enough)
		}
		return err
	}}
	var into bench.Report
	b.runner("a").Run(t.Context(), []Scenario{count}, &into)
	if got != countsOfTheFake || len(into.Notes) > 0 || into.Failed() {
		t.Errorf("%+v, %+v", got, into)
	}
	for _, tc := range []struct{ enough, steps int }{{0, 1}, {1000, 1}, {1001, 2}, {1e6, countStepsMax}} {
		enough = tc.enough
		steps := b.steps
		b.runner("a").Run(t.Context(), []Scenario{count}, &into)
		if got != countsOfTheFake || b.steps != steps+tc.steps {
			t.Errorf("%d packets: %+v in %d steps", tc.enough, got, b.steps-steps)
		}
	}
	b.fails = "uncounted"
	b.runner("uncounted").Run(t.Context(), []Scenario{count}, &into)
	if !(math.IsNaN(got.Syscalls) && math.IsNaN(got.Allocs) && math.IsNaN(got.Crossed)) || into.Failed() {
		t.Errorf("%+v, %+v", got, into.Results)
	}
	if len(into.Notes) != 3 || !strings.Contains(into.Notes[0], "uncounted: user and system time: not") ||
		!strings.Contains(into.Notes[1], "uncounted: system calls: not available") {
		t.Errorf("notes %q", into.Notes)
	}
}

// TestNothingToCount has a relay that delivers nothing, of which no figure a packet would tell.
func TestNothingToCount(t *testing.T) {
	count := Scenario{Name: "c", Rounds: 1, Play: func(ctx context.Context, s *Session) error {
		_, err := s.Ramp(ctx, loadgen.Workload{Idle: 10})
		if err == nil {
			_, err = s.Count(ctx, loadgen.Step{Rate: 1000, Window: time.Second}, 10)
		}
		return err
	}}
	b := newBed()
	b.fails = "swallows"
	var into bench.Report
	b.runner("swallows").Run(t.Context(), []Scenario{count}, &into)
	if got := into.Results[0].Error; !strings.Contains(got, "it delivered nothing for 1s") {
		t.Errorf("the error is %q", got)
	}
}

// TestSplitTakesSamples has a relay that is seen too rarely to tell user from system time.
func TestSplitTakesSamples(t *testing.T) {
	b := newBed()
	b.micros["a"] = 0.1
	var into bench.Report
	b.runner("a").Run(t.Context(), []Scenario{perPacket("x", 1)}, &into)
	res := into.Result("x", "a")
	if res.Figure("1k", bench.CPU) == nil || res.Figure("1k", bench.CPUUser) != nil || into.Failed() {
		t.Errorf("%+v", res)
	}
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	stop := Scenario{Name: "x", Rounds: 3, Play: func(context.Context, *Session) error {
		cancel()
		return errors.New("whatever")
	}}
	b := newBed()
	var into bench.Report
	b.runner("a", "b").Run(ctx, []Scenario{stop, perPacket("y", 1)}, &into)
	if !into.Partial || len(into.Results) != 4 || len(b.launched) != 1 || b.running != 0 {
		t.Errorf("%d launched, %+v", len(b.launched), into)
	}
	for i := range into.Results {
		if !strings.HasSuffix(into.Results[i].Error, "interrupted") {
			t.Errorf("%+v", into.Results[i])
		}
	}
}

func TestPeersWithoutSTUN(t *testing.T) {
	b := newBed()
	s := perPacket("x", 1)
	s.STUN = true
	r := b.runner("a", "b")
	r.Peers[0].NoSTUN = true
	var into bench.Report
	r.Run(t.Context(), []Scenario{s, perPacket("y", 1)}, &into)
	if got := strings.Join(b.launched, " "); got != "b a b" || into.Failed() ||
		len(into.Results) != 3 || !slices.Equal(b.stun, []bool{true, false, false}) {
		t.Errorf("turns %q, STUN %v, %+v", got, b.stun, into.Results)
	}
}

func TestPeersInSomeScenarios(t *testing.T) {
	b := newBed()
	r := b.runner("a", "b")
	r.Peers[0].Only = []string{"y"}
	var into bench.Report
	r.Run(t.Context(), []Scenario{perPacket("x", 2), perPacket("y", 1)}, &into)
	if got := strings.Join(b.launched, " "); got != "b b a b" || into.Failed() || len(into.Results) != 3 {
		t.Errorf("turns %q, %+v", got, into.Results)
	}
}

// TestMoreClientsThanFiles: the generator changes to io_uring, and a relay that opens a file for each
// is not asked to hold them.
func TestMoreClientsThanFiles(t *testing.T) {
	var engines []string
	s := Scenario{Name: "x", Rounds: 1, Play: func(ctx context.Context, s *Session) error {
		for _, n := range []int{100, 19_900} {
			if _, err := s.Ramp(ctx, loadgen.Workload{Idle: n}); err != nil {
				return err
			}
			engines = append(engines, s.job.Options.Engine)
		}
		if s.Holds(30_000) != s.Peer.NoFiles || !s.Holds(19_999) {
			t.Errorf("%+v", s.Peer)
		}
		return nil
	}}
	r := newBed().runner("a", "b")
	r.Peers[0].NoFiles = true
	var into bench.Report
	r.Run(t.Context(), []Scenario{s}, &into)
	if got := strings.Join(engines, ","); got != ",io_uring,,io_uring" || into.Failed() ||
		len(into.Result("x", "a").Remarks) > 0 || len(into.Result("x", "b").Remarks) != 1 {
		t.Errorf("engines %q, %+v", got, into.Results)
	}
}

func TestRemarksAreFew(t *testing.T) {
	var list []string
	for i := range 20 {
		list = remark(list, []string{fmt.Sprint(i / 2)})
	}
	if strings.Join(list, "") != "01234" {
		t.Errorf("%q", list)
	}
}
