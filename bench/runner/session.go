package runner

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"derpd/bench"
	"derpd/bench/probe"
	"derpd/loadgen"
	"derpd/loadgen/host"
	"derpd/netpoll"
)

// Session is one turn of a peer in a scenario: a relay of its own, and one fleet after the other.
type Session struct {
	// Peer is who is measured.
	Peer bench.Peer
	// Knee is what the reference delivers at most, packets a second; 0: not known.
	Knee float64

	bed     Bed
	relay   Relay
	job     loadgen.Job
	metered loadgen.Fleet
	bare    loadgen.Fleet

	edges   [2]edge
	edgeErr error
	blind   bool // where the relay spends its time cannot be seen

	figures []bench.Figure
	remarks []string
	failed  error    // to do what the scenario asks of the relay
	missing []string // what this machine or this peer does not offer
	noise   host.Interference
}

// edge is what is read when a window begins or ends.
type edge struct {
	cpu          time.Duration
	user, system int // of samples, at the end
	use          host.Use
	own          time.Duration
}

// Add records a figure of this turn. load is packets due a second, 0 where that means nothing. The
// step, if any, says whether the generator was the limit. NaN and infinite values are left out:
// this machine cannot tell them, or another figure or an error says that nothing was delivered.
func (s *Session) Add(at, measure string, value, load float64, m *Measured) {
	s.add(bench.Figure{At: at, Measure: measure, Load: load}, value, m)
}

// AddFound is Add at a load that was searched for: two runs of one build find others.
func (s *Session) AddFound(at, measure string, value, load float64, m *Measured) {
	s.add(bench.Figure{At: at, Measure: measure, Load: load, Found: true}, value, m)
}

func (s *Session) add(f bench.Figure, value float64, m *Measured) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	f.Samples = []float64{value}
	if m != nil {
		f.Limited = m.Slack.Limited
	}
	s.figures = append(s.figures, f)
}

// Remark notes what is odd about the figures.
func (s *Session) Remark(format string, args ...any) {
	s.remarks = append(s.remarks, fmt.Sprintf(format, args...))
}

// Fail notes what the scenario asked of the relay and the relay did not do. The figures of this
// turn stand and the peer has failed, unless others disturbed the turn, which does not count then.
func (s *Session) Fail(format string, args ...any) {
	s.failed = errors.Join(s.failed, fmt.Errorf(format, args...))
}

// Missing notes what cannot be measured here. It returns other errors than those of a machine that
// lacks something.
func (s *Session) Missing(what string, err error) error {
	if err == nil || !errors.Is(err, probe.ErrUnavailable) {
		return err
	}
	s.missing = append(s.missing, what+": "+err.Error())
	return nil
}

// Holds tells whether the relay can hold so many clients, and remarks it if not: the most files
// that a process may open here are the most connections of one that opens a file for each.
func (s *Session) Holds(clients int) bool {
	most := s.bed.OpenFiles()
	if s.Peer.NoFiles || clients < most {
		return true
	}
	s.Remark("it opens a file for each connection and may open %d here, so it was not asked to hold "+
		"%d clients", most, clients)
	return false
}

// Throttle holds the relay to a share of a processor. False: this machine cannot.
func (s *Session) Throttle(share float64) (bool, error) {
	err := s.relay.Throttle(share)
	return err == nil, s.Missing("a quota of processor time", err)
}

// STUNPort is where the relay answers STUN; 0: nowhere.
func (s *Session) STUNPort() int { return s.relay.STUNPort() }

// Wait lets time pass.
func (s *Session) Wait(ctx context.Context, d time.Duration) error { return s.bed.Wait(ctx, d) }

// Ramp replaces the clients of this session by those of a workload and logs them in.
func (s *Session) Ramp(ctx context.Context, w loadgen.Workload) (*Ramped, error) {
	s.leave()
	s.job = loadgen.Job{Targets: []loadgen.Target{s.relay.Target()}, Workload: w,
		Options: loadgen.Options{Seed: seed, LoginsAt: loginsAtOnce, LoginFor: loginTimeout,
			Ahead: aheadBytes, Sampled: sampledRecords}}
	if w.Clients()+spareFiles > s.bed.OpenFiles() {
		s.job.Options.Engine = string(netpoll.EngineURing) // which opens none for a client
	}
	var err error
	if s.metered, s.bare, err = s.bed.Fleet(s.job, s.atEdge); err != nil {
		return nil, err
	}
	s.edgeErr = nil
	s.atEdge(0)
	r, err := s.metered.Ramp(ctx)
	if err != nil {
		return nil, err
	}
	s.atEdge(1)
	if s.edgeErr != nil {
		return nil, s.edgeErr
	}
	cpu := s.disturbed(r.Took)
	if r.Partial {
		return nil, context.Cause(ctx)
	}
	if r.Clients < r.Wanted {
		return nil, fmt.Errorf("%d of %d clients could not log in: %v", r.Wanted-r.Clients, r.Wanted,
			r.Failures.Lines())
	}
	return &Ramped{r, cpu}, nil
}

// leave ends the connections of the present fleet.
func (s *Session) leave() {
	if s.metered != nil {
		_ = s.metered.Close() // what it measured has been returned
		s.metered, s.bare = nil, nil
	}
}

func (s *Session) atEdge(i int) {
	var e edge
	var err1, err2, err3 error
	if i == 1 {
		e.user, e.system, err1 = s.sampled()
	}
	e.cpu, err2 = s.relay.CPU()
	e.use, e.own, err3 = s.bed.Use()
	if i == 0 {
		err1 = s.sample()
	}
	if err := errors.Join(err1, err2, err3); err != nil && s.edgeErr == nil {
		s.edgeErr = err
	}
	s.edges[i] = e
}

// Step runs the traffic of the present fleet once. Packets that were delivered wrong end the
// session; losses that nobody accounts for and silent clients are remarked.
func (s *Session) Step(ctx context.Context, step loadgen.Step) (*Measured, error) {
	s.edgeErr = nil
	r, err := s.metered.Step(ctx, step)
	if err != nil {
		return nil, err
	}
	if r.Partial {
		return nil, context.Cause(ctx)
	}
	if err := s.judge(r); err != nil {
		return nil, err
	}
	if s.edgeErr != nil {
		return nil, s.edgeErr
	}
	return &Measured{StepResult: r, CPU: s.disturbed(r.Window), user: s.edges[1].user,
		system: s.edges[1].system}, nil
}

// sample begins to look where the relay spends its time, if this machine can.
func (s *Session) sample() error {
	if s.blind {
		return nil
	}
	err := s.relay.Sample()
	s.blind = err != nil
	return s.Missing("user and system time", err)
}

func (s *Session) sampled() (user, system int, err error) {
	if s.blind {
		return 0, 0, nil
	}
	return s.relay.Sampled()
}

// disturbed notes what others did between the edges, and returns what the relay used.
func (s *Session) disturbed(span time.Duration) (cpu time.Duration) {
	from, to := &s.edges[0], &s.edges[1]
	cpu = to.cpu - from.cpu
	if span < noiseSpanMin {
		return cpu
	}
	noise := to.use.Sub(from.use).Interference(cpu + to.own - from.own)
	s.noise.Steal = max(s.noise.Steal, noise.Steal)
	s.noise.Other = max(s.noise.Other, noise.Other)
	return cpu
}

// Counts is what one step made the relay do, a packet. NaN: not known.
type Counts struct {
	Syscalls float64 // all system calls
	Working  float64 // without those of the Go runtime for its threads and its clock
	Allocs   float64
	Exchange
}

// Count runs the traffic of the present fleet and counts, until there were enough packets: what a
// relay does once a second would count for much of a few. It takes its own steps, because counting
// makes everything slower, and nobody else asks the relay for anything meanwhile.
func (s *Session) Count(ctx context.Context, step loadgen.Step, enough int) (Counts, error) {
	nan := math.NaN()
	unknown := Counts{nan, nan, nan, Exchange{nan, nan, nan}}
	// Asked first and last: to make the page takes thousands of allocations.
	exchanged, err := s.exchange(ctx)
	if err != nil {
		return unknown, err
	}
	var counters []Counter
	for _, scheduling := range []bool{true, false} {
		c, err := s.relay.CountSyscalls(scheduling)
		if err := s.Missing("system calls", err); err != nil {
			return unknown, err
		}
		if c != nil {
			defer c.Close()
			counters = append(counters, c)
		}
	}
	before, asking, err := s.allocations(ctx)
	if err := s.Missing("allocations", err); err != nil {
		return unknown, err
	}
	allocsKnown := err == nil
	calls, err := readAll(counters)
	if err != nil {
		return unknown, err
	}
	packets := 0.0
	for tries := 0; tries == 0 || tries < countStepsMax && packets < float64(enough); tries++ {
		r, err := s.bare.Step(ctx, step)
		if err != nil {
			return unknown, err
		}
		if r.Partial {
			return unknown, context.Cause(ctx)
		}
		packets += float64(r.Books.Delivered)
	}
	if packets == 0 {
		return unknown, fmt.Errorf("it delivered nothing for %v, so that what a packet takes cannot be "+
			"counted", step.Window)
	}
	callsAfter, err := readAll(counters)
	if err != nil {
		return unknown, err
	}
	counts := unknown
	if len(counters) == 2 {
		counts.Syscalls = float64(callsAfter[0]-calls[0]) / packets
		counts.Working = float64(callsAfter[1]-calls[1]) / packets
	}
	if allocsKnown {
		after, err := s.relay.Allocations(ctx)
		if err != nil {
			return unknown, err
		}
		counts.Allocs = max(0, float64(after)-float64(before)-float64(asking)) / packets
	}
	now, err := s.exchange(ctx)
	counts.Exchange = Exchange{(now.Crossed - exchanged.Crossed) / packets,
		(now.Wakeups - exchanged.Wakeups) / packets, (now.Posts - exchanged.Posts) / packets}
	return counts, err
}

// exchange is what loops did for each other, NaN for a relay that does not tell.
func (s *Session) exchange(ctx context.Context) (Exchange, error) {
	e, err := s.relay.Exchange(ctx)
	if errors.Is(err, probe.ErrUnavailable) {
		return Exchange{math.NaN(), math.NaN(), math.NaN()}, nil
	}
	return e, err
}

func readAll(counters []Counter) (list []uint64, err error) {
	for _, c := range counters {
		n, err := c.Read()
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

// allocations reads them until asking costs the same twice within a hundredth, for the first
// answers fill pools; it returns the last count and what a question costs.
func (s *Session) allocations(ctx context.Context) (count, asking uint64, err error) {
	last, err := s.relay.Allocations(ctx)
	if err != nil {
		return 0, 0, err
	}
	for range 5 {
		if count, err = s.relay.Allocations(ctx); err != nil {
			return 0, 0, err
		}
		cost := count - last
		last = count
		steady := max(cost, asking)-min(cost, asking) <= cost/100
		if asking = cost; steady {
			break
		}
	}
	return count, asking, nil
}

// Memory is the resident memory of the relay and what the kernel holds for sockets, in bytes.
func (s *Session) Memory() (user, kernel float64, err error) {
	u, err1 := s.relay.Memory()
	k, err2 := s.bed.Kernel()
	return float64(u), float64(k), errors.Join(err1, err2)
}
