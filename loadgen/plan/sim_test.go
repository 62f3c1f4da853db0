package plan

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/host"
)

// sim is a relay, its clients and the clock, by a queueing model. Latency has a floor and an
// exponential tail whose mean is that of an M/D/1 queue with turns of length turn: turn·ρ/(2(1−ρ)).
// Beyond μ packets a second the relay goes on delivering them (flat) or less and less of them.
type sim struct {
	now   time.Time
	rng   *rand.Rand
	mu    float64 // packets a second
	turn  time.Duration
	floor time.Duration
	noise float64 // standard deviation of ln(μ) and of ln(latency) from step to step
	stall float64 // share of steps with a stall of 150 ms
	flat  bool

	generator float64 // packets a second that the generator can offer; 0: no limit
	loginCPU  time.Duration
	loginRate float64
	dies      time.Time // after that no client is there and none comes back; zero: never
	breaksAt  float64   // packets a second at which clients are lost; they do come back
	vanish    bool      // nothing is ever delivered
	tires     time.Time // after that μ is only a share, tired, of itself; zero: never
	tired     float64
	wrong     bool

	others    float64 // share of the machine that others use
	disturbed float64 // share of steps in which others take most of it

	wanted, clients int
	cpu             loadgen.CPU
	used            host.Use
	opened, closed  int
	steps           []loadgen.Step
	rss             int64
	blind           bool // the gauge fails
}

func newSim(mu float64) *sim {
	return &sim{now: time.Unix(1_000_000, 0), rng: rand.New(rand.NewPCG(1, 2)), mu: mu,
		turn: time.Millisecond, floor: 80 * time.Microsecond, noise: 0.05,
		loginCPU: 800 * time.Microsecond, loginRate: 1000, rss: simBase}
}

const (
	stall        = 150 * time.Millisecond
	simBase      = 15 << 20
	simLoad      = 100  // bytes of the relay for each packet a second
	simClient    = 7000 // bytes of the relay
	simSlab      = 3000 // bytes of the kernel, each end
	simTCP       = 500  // likewise
	simFiles     = 12
	simFilesMax  = 20000
	simCPUPacket = 8 * time.Microsecond
	simProcs     = 2
)

// p99 is the model's, without noise.
func (s *sim) p99(rate float64) time.Duration {
	rho := rate / s.mu
	return s.floor + time.Duration(float64(s.turn)*rho/(2*(1-rho))*math.Log(100))
}

// kneeAt solves p99 for the rate.
func (s *sim) kneeAt(bound time.Duration) float64 {
	q := 2 * float64(bound-s.floor) / (float64(s.turn) * math.Log(100))
	return s.mu * q / (1 + q)
}

func (s *sim) planner(goal Goal, o Options) *Planner {
	o.Machine = simMachine()
	return &Planner{Goal: goal, Options: o, Open: s.open, Gauge: s,
		Now: func() time.Time { return s.now }}
}

func simMachine() host.Machine {
	return host.Machine{CPUs: 2, Memory: 24 << 30, Fingerprint: "sim", Limits: host.Limits{
		FileMax: 2 << 20, NROpen: 1 << 20, SomaxConn: 4096, SYNBacklog: 1024,
		TCPMem: [3]int64{280000, 380000, 560000}, Ports: [2]int64{32768, 60999}}}
}

func (s *sim) open(w loadgen.Workload) (loadgen.Fleet, error) {
	s.opened++
	s.wanted, s.clients = w.Clients(), 0
	return s, nil
}

func (s *sim) dead() bool { return !s.dies.IsZero() && !s.now.Before(s.dies) }

func (s *sim) Ramp(context.Context) (*loadgen.RampResult, error) {
	if s.dead() {
		return nil, errors.New("127.0.0.1:443: connection refused")
	}
	took := time.Duration(float64(s.wanted) / s.loginRate * float64(time.Second))
	s.pass(took, time.Duration(s.wanted)*s.loginCPU)
	s.clients = s.wanted
	s.rss = simBase + int64(s.clients)*simClient
	h := loadgen.NewHist()
	h.Record(20 * time.Millisecond)
	return &loadgen.RampResult{Clients: s.clients, Wanted: s.wanted, Took: took, Login: h}, nil
}

// pass lets time go by in which the relay is charged with some of the processors' time.
func (s *sim) pass(d, cpu time.Duration) {
	s.now = s.now.Add(d)
	s.cpu.System += cpu
	others := time.Duration(s.others * simProcs * float64(d))
	s.used.Busy += cpu + others
	s.used.Idle += max(0, simProcs*d-cpu-others)
}

func (s *sim) Step(_ context.Context, step loadgen.Step) (*loadgen.StepResult, error) {
	s.steps = append(s.steps, step)
	s.rss = simBase + int64(s.clients)*simClient + simLoad*int64(step.Rate)
	seconds := step.Window.Seconds()
	mu := s.mu * math.Exp(s.noise*s.rng.NormFloat64())
	if !s.tires.IsZero() && s.now.After(s.tires) {
		mu *= s.tired
	}
	if s.disturbed > 0 {
		if s.others = 0; s.rng.Float64() < s.disturbed {
			s.others, mu = 0.6, mu*0.3
		}
	}
	rho := step.Rate / mu
	delivered := min(step.Rate, mu)
	mean := float64(s.turn) * rho / (2 * (1 - rho))
	drain := 50 * time.Millisecond
	if rho >= 1 {
		mean = (rho - 1) * float64(step.Window) / 2
		drain = step.Drain
		if !s.flat {
			delivered, mean = mu*max(0.03, 1-4*(rho-1)), float64(30*time.Millisecond)
		}
	}
	res := &loadgen.StepResult{Step: step, Window: step.Window, Clients: s.clients,
		Slack: loadgen.Slack{Idle: 0.5}}
	if s.generator > 0 && step.Rate > s.generator {
		delivered = min(delivered, s.generator)
		res.Slack = loadgen.Slack{Limited: "its loops were never idle"}
		mean += float64(50 * time.Millisecond)
	}
	if s.vanish {
		delivered = 0
	}
	res.Wrong.Order = map[bool]uint64{true: 1}[s.wrong]
	s.pass(step.Warm+step.Window+drain, time.Duration(delivered*seconds)*simCPUPacket)
	if s.dead() || s.breaksAt > 0 && step.Rate >= s.breaksAt {
		s.clients, delivered = s.clients/3, 0
		res.Clients = s.clients
		res.Failures.Add(loadgen.FailReset, uint64(s.wanted-s.clients), "connection reset by peer")
	}
	g := loadgen.GroupResult{Name: "talk", Due: uint64(step.Rate * seconds),
		Delivered: uint64(delivered * seconds), Latency: s.latencies(delivered*seconds, mean, seconds)}
	res.Groups = []loadgen.GroupResult{g}
	res.Books = loadgen.Books{Due: g.Due, Sent: g.Due, Delivered: g.Delivered}
	return res, nil
}

// latencies draws as many as can be told apart, from a step whose level is its own.
func (s *sim) latencies(n, mean, seconds float64) *loadgen.Hist {
	h := loadgen.NewHist()
	level := math.Exp(s.noise * s.rng.NormFloat64())
	stalled := s.rng.Float64() < s.stall
	for range min(int(n), int(1500*seconds)) {
		d := time.Duration(level * (float64(s.floor) + mean*s.rng.ExpFloat64()))
		if stalled && s.rng.Float64() < stall.Seconds()/seconds {
			d += time.Duration(s.rng.Float64() * float64(stall))
		}
		h.Record(d)
	}
	return h
}

func (s *sim) Progress() loadgen.Progress { return loadgen.Progress{} }

func (s *sim) Close() error { s.closed++; return nil }

// Read is the gauge.
func (s *sim) Read() (host.Reading, error) {
	if s.blind || s.dead() {
		return host.Reading{}, errors.New("no such process")
	}
	n := int64(s.clients)
	return host.Reading{CPU: s.cpu, RSSBytes: s.rss, Descriptors: simFiles + s.clients,
		DescriptorsMax: simFilesMax, Processors: simProcs, Machine: s.used,
		Kernel: host.Kernel{TCPBytes: 2 * n * simTCP, SlabBytes: 1 << 30, Slabs: map[string]int64{
			"TCP": 1 << 20, "filp": 1<<20 + 2*n*simSlab}}}, nil
}
