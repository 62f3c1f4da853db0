package scenario

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"derpd/bench"
	"derpd/bench/probe"
	"derpd/bench/runner"
	"derpd/loadgen"
	"derpd/loadgen/host"
)

// model is a machine with a relay that takes 10 µs a packet, 500 µs a login and 2000 bytes a client,
// and delivers what it can; beyond that it collapses to a fifth, or holds senders back.
type model struct {
	collapses   bool
	cannotHold  bool // to a share of a processor
	withoutSTUN bool
	fails       string // how: see TestRelaysThatFail
	files       int    // that it may open
	steps       []loadgen.Step
	workloads   []loadgen.Workload
	waited      time.Duration

	share     float64
	delivered uint64
	cpu       time.Duration
	clients   int
}

const capacity = 100_000

func (m *model) Launch(context.Context, bench.Peer, bool, bool) (runner.Relay, error) {
	m.share, m.cpu, m.clients = 1, 0, 0
	return m, nil
}
func (m *model) Fleet(job loadgen.Job, atEdge func(int)) (metered, bare loadgen.Fleet, err error) {
	m.workloads = append(m.workloads, job.Workload)
	f := &modelFleet{m, job.Workload, atEdge}
	return f, f, nil
}
func (m *model) Use() (host.Use, time.Duration, error) {
	return host.Use{Busy: m.cpu, Idle: time.Hour}, 0, nil
}
func (m *model) Kernel() (int64, error) { return int64(m.clients) * 5000, nil }
func (m *model) OpenFiles() int         { return cmp.Or(m.files, 1<<20) }
func (m *model) Wait(_ context.Context, d time.Duration) error {
	m.waited += d
	return nil
}
func (m *model) Target() loadgen.Target {
	return loadgen.Target{Addr: netip.MustParseAddrPort("127.0.0.1:1")}
}
func (m *model) STUNPort() int               { return 3478 }
func (m *model) CPU() (time.Duration, error) { return m.cpu, nil }
func (m *model) Sample() error               { return nil }
func (m *model) Sampled() (user, system int, err error) {
	return 1000, 1000, nil
}
func (m *model) Memory() (int64, error)  { return 1e7 + int64(m.clients)*2000, nil }
func (m *model) Stop()                   {}
func (m *model) Explain(err error) error { return err }
func (m *model) Throttle(share float64) error {
	if m.cannotHold {
		return fmt.Errorf("%w: no cgroups", probe.ErrUnavailable)
	}
	m.share = share
	return nil
}
func (m *model) CountSyscalls(bool) (runner.Counter, error) {
	return &modelCounter{m, m.delivered}, nil
}
func (m *model) Allocations(context.Context) (uint64, error) { return 1000, nil }
func (m *model) Exchange(context.Context) (runner.Exchange, error) {
	n := float64(m.delivered)
	return runner.Exchange{Crossed: n / 2, Wakeups: n / 4, Posts: n / 8}, nil
}

type modelCounter struct {
	m     *model
	since uint64
}

// Read is 3 calls for each packet of the last step.
func (c *modelCounter) Read() (uint64, error) {
	return 3 * (c.m.delivered - c.since), nil
}
func (c *modelCounter) Close() {}

type modelFleet struct {
	m      *model
	w      loadgen.Workload
	atEdge func(int)
}

func (f *modelFleet) Ramp(context.Context) (*loadgen.RampResult, error) {
	n := f.w.Clients()
	f.m.clients = n
	took := time.Duration(n) * 500 * time.Microsecond
	f.m.cpu += took
	return &loadgen.RampResult{Clients: n, Wanted: n, Took: max(took, 1)}, nil
}

func (f *modelFleet) Step(_ context.Context, s loadgen.Step) (*loadgen.StepResult, error) {
	m := f.m
	f.atEdge(0)
	m.steps = append(m.steps, s)
	limit := capacity * m.share
	due := s.Rate
	if len(f.w.Groups) > 0 && f.w.Groups[0].FullSpeed() {
		due = limit
	}
	got := math.Min(due, limit)
	sent := got
	if m.fails == "swallows" || m.fails == "swallows many" && m.clients > fewClients {
		sent, got = due, 0
	}
	if m.collapses && due > limit {
		sent, got = due, limit/5
	}
	seconds := s.Window.Seconds()
	count := func(v float64) uint64 { return uint64(v*seconds + .5) }
	r := &loadgen.StepResult{Step: s, Window: s.Window, Readmit: 3 * time.Second}
	r.Asked, r.Answered = m.clients, m.clients
	switch m.fails {
	case "shuts out":
		r.Readmit = 0
	case "forgets":
		r.Asked, r.Answered = m.clients-2, m.clients-3
	}
	h := loadgen.NewHist()
	if got > 0 {
		h.Record(time.Duration(len(m.workloads)) * time.Millisecond)
	}
	for i := range f.w.Groups {
		g := loadgen.GroupResult{Name: f.w.Groups[i].Name, Latency: h}
		if i == 0 {
			g.Due, g.Sent, g.Delivered = count(due), count(sent), count(got)
		}
		if g.Name == bystanders && m.fails == "starves" && len(m.workloads) > 1 {
			g.Latency = loadgen.NewHist()
		}
		r.Groups = append(r.Groups, g)
		m.cpu += time.Duration(g.Delivered) * 10 * time.Microsecond
	}
	if f.w.STUN != nil && !m.withoutSTUN {
		rate := s.Rate
		if rate == 0 {
			rate = 1e5
		}
		n := count(rate)
		r.STUN = &loadgen.STUNResult{Due: n, Sent: n, Answered: n, Asked: n, Latency: h}
		m.cpu += time.Duration(r.STUN.Answered) * 5 * time.Microsecond
	}
	r.Books = loadgen.Books{Due: count(due), NotAccepted: count(due) - count(sent), Sent: count(sent),
		Delivered: count(got), DroppedKnown: true,
		Dropped: map[string]uint64{"queue": count(sent) - count(got)}}
	m.delivered += r.Books.Delivered
	f.atEdge(1)
	return r, nil
}
func (f *modelFleet) Progress() loadgen.Progress { return loadgen.Progress{} }
func (f *modelFleet) Close() error {
	f.m.clients = 0
	return nil
}

// play runs one scenario for one round, in which nothing fails.
func play(t *testing.T, m *model, scale, name string) *bench.Result {
	t.Helper()
	res := try(t, m, scale, name)
	if res.Error != "" {
		t.Fatalf("%s: %+v", name, res)
	}
	return res
}

func try(t *testing.T, m *model, scale, name string) *bench.Result {
	t.Helper()
	s, err := Find(scale)
	if err == nil {
		err = s.Only([]string{name})
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Scenarios[0].Rounds = 1
	r := runner.Runner{Bed: m, Peers: []bench.Peer{{Name: "p"}}, Knee: 68_000, NoiseMax: 1,
		Say: func(string, ...any) {}}
	var into bench.Report
	r.Run(t.Context(), s.Scenarios, &into)
	return &into.Results[0]
}

// TestFigures holds each scenario to what it must find of the model.
func TestFigures(t *testing.T) {
	type want struct {
		at, measure string
		least, most float64
	}
	near := func(at, measure string, v float64) want { return want{at, measure, v * .99, v * 1.01} }
	for _, tc := range []struct {
		scale, name string
		m           model
		wants       []want
	}{
		{"full", "bulk-tls", model{}, []want{near("20k", bench.CPU, 10), near("60k", bench.CPUUser, 5),
			near("60k", bench.Delivered, 60e3), near("20k", bench.Batched, 3), near("20k", bench.P99, 1000),
			{"20k", bench.Allocs, 0, 0}, near("full-speed", bench.CPU, 10),
			near("full-speed", bench.Batched, 3)}},
		{"full", "latency-tls", model{}, []want{near("20%", bench.P50, 1000), near("80%", bench.CPU, 10)}},
		{"full", "knee-tls", model{}, []want{near("1-a-write", bench.Delivered, capacity)}},
		{"full", "knee-plain", model{collapses: true},
			[]want{{"1-a-write", bench.Delivered, .9 * capacity, capacity}}},
		{"full", "overload-tls-1", model{}, []want{near("knee", bench.Delivered, capacity*throttledShare),
			near("1x", bench.Delivered, capacity*throttledShare), near("2x", bench.Goodput, 1),
			near("10x", bench.Goodput, 1)}},
		{"full", "overload-plain-1", model{}, []want{near("10x", bench.Goodput, 1)}},
		{"quick", "overload-tls-8", model{collapses: true}, []want{{"10x", bench.Goodput, .2, .23},
			near("10x", bench.CPU, 10)}},
		{"quick", "overload-tls-8", model{cannotHold: true}, []want{
			near("knee", bench.Delivered, capacity), near("5x", bench.Goodput, 1)}},
		{"quick", "chatter-tls", model{}, []want{near("", bench.CPU, 10)}},
		{"quick", "idle-tls", model{}, []want{near("", bench.IdleMemory, 2000),
			near("", bench.IdleKernel, 5000), near("", bench.Logins, 2000), near("", bench.LoginCPU, 500)}},
		{"full", "many-tls", model{}, []want{near("", bench.ActiveMemory, 2000),
			near("many", bench.CPU, 10), near("few", bench.CPU, 10), near("", bench.Growth, 1),
			near("few-even", bench.Growth, 1)}},
		{"full", "crowd-tls", model{}, []want{near("calm", bench.Others, 1000),
			near("open", bench.OthersP95, 2000), near("choked", bench.Others, 3000),
			near("incast", bench.Others, 4000), near("flood", bench.Others, 5000),
			near("slow-reader", bench.Others, 6000)}},
		{"full", "vast-tls", model{}, []want{near("", bench.IdleMemory, 2000), near("", bench.Growth, 1)}},
		{"full", "vast-storm-tls", model{}, []want{near("storm", bench.Others, 2000)}},
		{"full", "storm-tls", model{}, []want{near("calm", bench.Others, 1000),
			near("storm", bench.Others, 2000), near("", bench.Readmit, 3)}},
		{"full", "stun", model{}, []want{near("", bench.Answers, 1e5), near("", bench.AnswerCPU, 5),
			near("5k", bench.Answers, 5e3), near("50k", bench.AnswerCPU, 5), near("50k", bench.P99, 2000)}},
		{"full", "loops-tls", model{}, []want{near("20k", bench.CPU, 10), near("20k", bench.CrossLoop, .5),
			near("full-speed", bench.Wakeups, .25), near("full-speed", bench.Posts, .125)}},
		{"gate", "counts-plain", model{}, []want{near("alone", bench.Syscalls, 3),
			near("bulk", bench.Batched, 3)}},
	} {
		res := play(t, &tc.m, tc.scale, tc.name)
		for _, w := range tc.wants {
			f := res.Figure(w.at, w.measure)
			if f == nil || f.Samples[0] < w.least || f.Samples[0] > w.most {
				t.Errorf("%s %q %s: %+v, want %v to %v", tc.name, w.at, w.measure, f, w.least, w.most)
			}
		}
		if (len(res.Remarks) > 0) != tc.m.cannotHold {
			t.Errorf("%s: remarks %q", tc.name, res.Remarks)
		}
	}
}

// TestLoads looks at what was sent.
func TestLoads(t *testing.T) {
	m := &model{}
	play(t, m, "full", "latency-tls")
	var rates []float64
	for _, s := range m.steps {
		rates = append(rates, math.Round(s.Rate))
		if !s.Busy || s.Warm == 0 || s.Drain == 0 {
			t.Errorf("%+v", s)
		}
	}
	if !slices.Equal(rates, []float64{13_600, 34_000, 54_400}) {
		t.Errorf("rates %v", rates)
	}
	m = &model{}
	play(t, m, "full", "many-tls")
	if m.waited != 30*time.Second || m.workloads[0].Clients() != 15_000 || m.workloads[1].Clients() != 100 {
		t.Errorf("waited %v for %d clients", m.waited, m.workloads[0].Clients())
	}
	for i, want := range []loadgen.ArrivalKind{loadgen.OnOff, loadgen.OnOff, loadgen.Poisson} {
		kinds := map[loadgen.ArrivalKind]bool{}
		for _, g := range m.workloads[i].Groups {
			if g.Share > 0 {
				kinds[g.Arrival.Kind] = true
			}
		}
		if len(kinds) != 1 || !kinds[want] {
			t.Errorf("workload %d sends %v, want %s", i, kinds, want)
		}
	}
	// Of a knee the load is found, and no other one is.
	for name, at := range map[string]string{"knee-tls": "1-a-write", "bulk-tls": "60k"} {
		f := play(t, &model{}, "full", name).Figure(at, bench.CPU)
		if f == nil || f.Found != (name == "knee-tls") || f.Load == 0 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	m = &model{files: 20_000}
	for _, name := range []string{"vast-tls", "vast-storm-tls"} {
		if res := play(t, m, "full", name); len(res.Remarks) != 1 || len(m.workloads) > 0 ||
			!strings.Contains(res.Remarks[0], "may open 20000 here") {
			t.Errorf("%s with 20,000 files: %+v", name, res)
		}
	}
	m = &model{}
	play(t, m, "full", "stun")
	if m.workloads[0].STUN.Port != 3478 {
		t.Errorf("port %d", m.workloads[0].STUN.Port)
	}
}

// TestRelaysThatFail has relays that do not do what a scenario asks, of which no figure tells.
func TestRelaysThatFail(t *testing.T) {
	const nothing = "it delivered nothing"
	for _, tc := range []struct {
		scale, name string
		m           model
		want        string
		figures     bool // of the same round stand
	}{
		{"full", "bulk-tls", model{fails: "swallows"}, nothing, false},
		{"full", "latency-tls", model{fails: "swallows"}, nothing + " of 27200 packets", false},
		{"quick", "chatter-tls", model{fails: "swallows"}, nothing, false},
		{"full", "knee-tls", model{fails: "swallows"}, "it delivers nothing", false},
		{"gate", "counts-plain", model{fails: "swallows"}, "cannot be counted", false},
		{"full", "many-tls", model{fails: "swallows"}, nothing, false},
		{"full", "many-tls", model{fails: "swallows many"}, nothing, false},
		{"quick", "idle-tls", model{fails: "forgets"}, "3 of 1000 clients were not served", true},
		{"full", "many-tls", model{fails: "forgets"}, "3 of 15000 clients were not served", true},
		{"full", "crowd-tls", model{fails: "starves"},
			"open: the pairs that are not the trouble got none of", true},
		{"full", "storm-tls", model{fails: "starves"},
			"storm: the pairs that are not the trouble got none of", true},
		{"full", "storm-tls", model{fails: "shuts out"},
			"not all of 10000 clients were back within 15", true},
		{"full", "stun", model{withoutSTUN: true}, "it answered none of the STUN requests", false},
	} {
		res := try(t, &tc.m, tc.scale, tc.name)
		if !strings.Contains(res.Error, tc.want) || len(res.Figures) > 0 != tc.figures {
			t.Errorf("%s of a relay that %s%v: the error is %q, want %q; %d figures", tc.name, tc.m.fails,
				tc.m.withoutSTUN, res.Error, tc.want, len(res.Figures))
		}
	}
}

// TestEstimate: what nothing runs on does all that scenarios ask, or they would end early.
func TestEstimate(t *testing.T) {
	for _, scale := range Scales() {
		r := runner.Runner{Bed: &runner.Sketch{}, Peers: []bench.Peer{{Name: "p", NoFiles: true}},
			Knee: 68_000, NoiseMax: 1, Say: func(string, ...any) {}}
		var into bench.Report
		r.Run(t.Context(), scale.Scenarios, &into)
		for i := range into.Results {
			if res := &into.Results[i]; res.Error != "" || len(res.Figures) == 0 {
				t.Errorf("%s: %+v", scale.Name, res)
			}
		}
	}
}
