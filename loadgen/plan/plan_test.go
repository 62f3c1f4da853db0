package plan

import (
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"derpd/loadgen"
)

var goal = Goal{Clients: 100_000, PacketsPerSecond: 300_000, P99: 5 * time.Millisecond}

func plan(t *testing.T, s *sim, g Goal, o Options) *Result {
	t.Helper()
	began := s.now
	res, err := s.planner(g, o).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if took := s.now.Sub(began); took > res.Budget || res.Took != took {
		t.Errorf("took %v (says %v) of %v", took, res.Took, res.Budget)
	}
	if s.opened != s.closed {
		t.Errorf("%d fleets opened, %d closed", s.opened, s.closed)
	}
	return res
}

// The test's own arithmetic: the model's p99 at its knee is the bound.
func TestModel(t *testing.T) {
	s := newSim(70_000)
	if got := s.p99(s.kneeAt(goal.P99)); !near(float64(got), float64(goal.P99), 0.001) {
		t.Errorf("p99 at the knee: %v", got)
	}
}

// near tells whether a is within a share of b.
func near(a, b, share float64) bool { return math.Abs(a-b) <= share*b }

// The knees are found within 10 % of the model's, over loads from slow to fast, relays that go flat
// and relays that collapse, and noise.
func TestFindsKnees(t *testing.T) {
	for _, mu := range []float64{900, 20_000, 105_000, 430_000} {
		for _, flat := range []bool{true, false} {
			for seed := range uint64(3) {
				s := newSim(mu)
				s.flat, s.rng = flat, rand.New(rand.NewPCG(seed, 7))
				s.noise = 0.02
				res := plan(t, s, goal, Options{})
				if want := s.mu; !near(res.Throughput.Rate, want, 0.1) || res.Throughput.AtLeast {
					t.Errorf("μ %.0f flat %v seed %d: throughput %+v", mu, flat, seed, res.Throughput)
				}
				if want := s.kneeAt(goal.P99); !near(res.Latency.Rate, want, 0.1) ||
					res.Latency.AtLeast {
					t.Errorf("μ %.0f flat %v seed %d: latency %+v, want %.0f", mu, flat, seed,
						res.Latency, want)
				}
				if !res.Planned.Verified || res.Partial || res.Planned.P99 > goal.P99 {
					t.Errorf("μ %.0f flat %v seed %d: planned %+v", mu, flat, seed, res.Planned)
				}
				if res.Beyond == nil || (res.Beyond.Kind == "flat") != flat {
					t.Errorf("μ %.0f flat %v seed %d: beyond %+v", mu, flat, seed, res.Beyond)
				}
			}
		}
	}
}

// What a plan promises must hold: longer runs at 80 % of the planned load meet the planned p99,
// five of five, also where steps differ by 15 % and some of them stall.
func TestPromiseHolds(t *testing.T) {
	promised := 0
	for seed := range uint64(10) {
		s := newSim(100_000)
		s.rng = rand.New(rand.NewPCG(seed, 3))
		s.noise, s.stall = 0.15, 0.05
		res := plan(t, s, Goal{Clients: 10_000, PacketsPerSecond: 100_000,
			P99: 10 * time.Millisecond}, Options{})
		if res.Planned.Rate < 0.4*s.kneeAt(10*time.Millisecond) {
			t.Errorf("seed %d: planned %.0f is too careful", seed, res.Planned.Rate)
		}
		if res.Planned.P99 == 0 {
			continue
		}
		promised++
		for range 5 {
			run, err := s.Step(t.Context(), loadgen.Step{Rate: 0.8 * res.Planned.Rate,
				Window: 30 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if p99 := run.Groups[0].Latency.At(99); p99 > res.Planned.P99 {
				t.Errorf("seed %d: p99 %v at 0.8 of %.0f/s, promised %v (seen %v, spread %.2f)", seed,
					p99, res.Planned.Rate, res.Planned.P99, res.Planned.Seen, res.Planned.Spread)
			}
		}
	}
	if promised < 9 {
		t.Errorf("%d of 10 plans promise something", promised)
	}
}

// Where the generator is the limit nothing is a capacity, in no part of the result.
func TestGeneratorIsTheLimit(t *testing.T) {
	for _, limit := range []float64{3000, 30_000, 90_000} {
		s := newSim(100_000)
		s.generator, s.turn = limit, 100*time.Microsecond
		res := plan(t, s, goal, Options{})
		for name, k := range map[string]Knee{"throughput": res.Throughput, "latency": res.Latency} {
			if !k.AtLeast || k.Rate > limit || k.Rate < 0.85*limit ||
				!strings.Contains(k.Why, "generator was the limit") {
				t.Errorf("limit %.0f: %s %+v", limit, name, k)
			}
		}
		if !res.Planned.AtLeast || !res.Hosts.Needs[0].AtMost || res.Beyond != nil {
			t.Errorf("limit %.0f: planned %+v, needs %+v, beyond %+v", limit, res.Planned,
				res.Hosts.Needs[0], res.Beyond)
		}
		if res.Hosts.Binding == Packets && !strings.Contains(res.Breaks, "generator") {
			t.Errorf("limit %.0f: breaks %q", limit, res.Breaks)
		}
		if !res.Throughput.AtLeast {
			t.Errorf("limit %.0f: knee of throughput %+v", limit, res.Throughput)
		}
	}
}

// Whatever the budget, it is kept (plan checks that), and even a short one plans something.
func TestKeepsItsBudget(t *testing.T) {
	for _, budget := range []time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second,
		time.Minute, 3 * time.Minute} {
		s := newSim(50_000)
		res := plan(t, s, goal, Options{Budget: budget})
		if res.Planned.Rate == 0 || res.Planned.Rate > s.mu {
			t.Errorf("%v: planned %+v", budget, res.Planned)
		}
		if budget >= 30*time.Second && !res.Planned.Verified {
			t.Errorf("%v: not verified", budget)
		}
	}
	s := newSim(50_000)
	s.loginRate = 100 // 4800 clients take 48 of the 60 s
	res := plan(t, s, goal, Options{})
	if len(res.Steps) == 0 && res.Latency.Rate != 0 {
		t.Errorf("latency %+v without steps", res.Latency)
	}
}

func TestRelayDies(t *testing.T) {
	for _, after := range []time.Duration{6 * time.Second, 20 * time.Second, 42 * time.Second} {
		s := newSim(50_000)
		s.dies = s.now.Add(after)
		res := plan(t, s, goal, Options{})
		if !res.Partial || !strings.Contains(strings.Join(res.Notes, "\n"), "do not come back") ||
			!strings.Contains(strings.Join(res.Notes, "\n"), "reset: ") {
			t.Errorf("after %v: partial %v, notes %q", after, res.Partial, res.Notes)
		}
		if res.Planned.Verified {
			t.Errorf("after %v: planned %+v", after, res.Planned)
		}
		if after > 40*time.Second && (res.Latency.Rate == 0 || res.Memory == nil) {
			t.Errorf("after %v: what was found is gone: %+v", after, res.Latency)
		}
	}
	s := newSim(50_000)
	s.dies = s.now
	if res, err := s.planner(goal, Options{}).Run(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "refused") {
		t.Errorf("dead from the start: %+v, %v", res, err)
	}
}

// A relay that throws its clients out when overloaded is asked again with new ones, and the rate at
// which it does so is beyond its knee.
func TestRelayLosesClients(t *testing.T) {
	s := newSim(50_000)
	s.breaksAt = 30_000
	res := plan(t, s, goal, Options{})
	if s.opened < 2 || res.Throughput.Rate >= s.breaksAt || res.Throughput.Rate == 0 {
		t.Errorf("opened %d, throughput %+v", s.opened, res.Throughput)
	}
	if s.opened > 1+reopenMax {
		t.Errorf("opened %d times", s.opened)
	}
}

func TestNothingIsDelivered(t *testing.T) {
	s := newSim(50_000)
	s.vanish = true
	res := plan(t, s, goal, Options{})
	if res.Throughput.Rate != 0 || res.Latency.Rate != 0 || res.Planned.Rate != 0 ||
		res.Hosts.Count != 0 || res.CorePackets != 0 ||
		!strings.Contains(res.Breaks, "nothing can be planned") {
		t.Errorf("throughput %+v, planned %+v, hosts %+v, breaks %q", res.Throughput, res.Planned,
			res.Hosts, res.Breaks)
	}
	if low := res.Steps[len(res.Steps)-1].Rate; low != rateMin {
		t.Errorf("gave up at %.0f/s", low)
	}
}

// The bound is missed even at the lowest rate: the relay still has a knee of throughput.
func TestBoundTooTight(t *testing.T) {
	s := newSim(50_000)
	s.flat = true
	g := goal
	g.P99 = 20 * time.Microsecond // below the floor
	res := plan(t, s, g, Options{})
	if res.Latency.Rate != 0 || res.Planned.Rate != 0 || res.Hosts.Count != 0 {
		t.Errorf("latency %+v, planned %+v", res.Latency, res.Planned)
	}
	if !near(res.Throughput.Rate, s.mu, 0.15) {
		t.Errorf("throughput %+v", res.Throughput)
	}
	if !strings.Contains(res.Breaks, "p99") {
		t.Errorf("breaks %q", res.Breaks)
	}
}

func TestWrongDeliveryEndsThePlan(t *testing.T) {
	s := newSim(50_000)
	s.wrong = true
	res := plan(t, s, goal, Options{})
	if !res.Partial || res.Planned.Verified || len(res.Steps) != 1 || res.Steps[0].Carried ||
		res.Wrong == "" {
		t.Errorf("partial %v, planned %+v, %d steps", res.Partial, res.Planned, len(res.Steps))
	}
}

// Nobody logged in, and the fleet does not call it an error.
func TestNobodyComesIn(t *testing.T) {
	s := newSim(50_000)
	p := s.planner(goal, Options{})
	open := p.Open
	p.Open = func(w loadgen.Workload) (loadgen.Fleet, error) {
		f, err := open(w)
		s.wanted = 0
		return f, err
	}
	if res, err := p.Run(t.Context()); err == nil || s.closed != 1 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestStopped(t *testing.T) {
	s := newSim(50_000)
	ctx, cancel := context.WithCancel(t.Context())
	p := s.planner(goal, Options{})
	p.Say = func(string, ...any) {
		if len(s.steps) == 4 {
			cancel()
		}
	}
	res, err := p.Run(ctx)
	if err != nil || !res.Partial || len(res.Steps) != 4 || s.closed != 1 {
		t.Errorf("%v, partial %v, %d steps", err, res.Partial, len(res.Steps))
	}
}

// A step of noise in the growth does not end it.
func TestOneBadStep(t *testing.T) {
	s := newSim(100_000)
	s.noise = 0.01
	p := s.planner(goal, Options{})
	open := p.Open
	p.Open = func(w loadgen.Workload) (loadgen.Fleet, error) {
		f, err := open(w)
		return &hiccup{Fleet: f, at: 2}, err
	}
	res, err := p.Run(t.Context())
	if err != nil || !near(res.Throughput.Rate, s.mu, 0.1) ||
		!near(res.Latency.Rate, s.kneeAt(goal.P99), 0.1) {
		t.Errorf("%v: throughput %+v, latency %+v", err, res.Throughput, res.Latency)
	}
	if res.Steps[1].Carried {
		t.Error("the hiccup was not seen")
	}
}

// Steps in which others had the machine do not count against the relay, if it does better without.
func TestPardonsDisturbedSteps(t *testing.T) {
	for seed := range uint64(10) {
		s := newSim(100_000)
		s.rng, s.noise, s.disturbed = rand.New(rand.NewPCG(seed, 5)), 0.02, 0.2
		res := plan(t, s, goal, Options{})
		if !near(res.Throughput.Rate, s.mu, 0.15) ||
			!near(res.Latency.Rate, s.kneeAt(goal.P99), 0.15) {
			t.Errorf("seed %d: throughput %+v, latency %+v", seed, res.Throughput, res.Latency)
		}
	}
}

// Where even the verification fails again and again, nothing is promised.
func TestNothingHolds(t *testing.T) {
	s := newSim(100_000)
	s.tires = s.now.Add(40 * time.Second)
	res := plan(t, s, goal, Options{})
	p := res.Planned
	last := res.Steps[len(res.Steps)-1]
	if p.Verified || p.P99 != 0 || p.Rate == 0 || last.Purpose != Verify || p.Rate >= last.Rate ||
		!strings.Contains(p.Why, "did not hold") {
		t.Errorf("planned %+v", p)
	}
}

// When the relay gets slower towards the end, the plan steps down until it holds.
func TestStepsDown(t *testing.T) {
	s := newSim(100_000)
	s.tires, s.tired = s.now.Add(40*time.Second), 0.7
	res := plan(t, s, goal, Options{})
	p := res.Planned
	sure := !strings.Contains(strings.Join(res.Notes, "\n"), "is not sure")
	if !p.Verified || p.P99 == 0 || sure != (p.P99 <= goal.P99) || !near(p.Rate, 0.8*0.8*res.Latency.Rate, 0.01) ||
		!strings.Contains(p.Why, "stepped down") {
		t.Errorf("latency %+v, planned %+v", res.Latency, p)
	}
}

// hiccup spoils one step.
type hiccup struct {
	loadgen.Fleet
	at int
}

func (h *hiccup) Step(ctx context.Context, s loadgen.Step) (*loadgen.StepResult, error) {
	res, err := h.Fleet.Step(ctx, s)
	if h.at--; h.at == 0 {
		res.Groups[0].Delivered /= 2
	}
	return res, err
}

func TestRefusesNonsense(t *testing.T) {
	full := loadgen.Workload{Groups: []loadgen.Group{{Senders: 1, Receivers: 1}}}
	for name, c := range map[string]struct {
		g Goal
		o Options
	}{
		"clients":  {g: Goal{Clients: -1}},
		"packets":  {g: Goal{PacketsPerSecond: math.NaN()}},
		"active":   {g: Goal{Active: 2}},
		"p99":      {g: Goal{P99: -1}},
		"budget":   {o: Options{Budget: time.Second}},
		"safety":   {o: Options{Safety: 2}},
		"start":    {o: Options{Start: -1}},
		"workload": {o: Options{Workload: &full}},
	} {
		s := newSim(1000)
		if res, err := s.planner(c.g, c.o).Run(t.Context()); err == nil || s.opened > 0 {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
	}
}

func TestResultThroughJSON(t *testing.T) {
	s := newSim(50_000)
	res := plan(t, s, goal, Options{})
	b, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	var back Result
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	for i := range res.Steps {
		res.Steps[i].latency, res.Steps[i].tcp = nil, 0
	}
	res.Memory.tcpClient = 0
	back.Began = back.Began.Local()
	if !reflect.DeepEqual(*res, back) {
		t.Errorf("%+v\nis not\n%+v", back, *res)
	}
}
