package runner

import (
	"context"
	"math"
	"net/netip"
	"time"

	"derpd/bench"
	"derpd/loadgen"
	"derpd/loadgen/host"
)

// Sketch is a Bed on which nothing runs: it adds up how long everything would take on a quiet
// machine, with relays that are as fast as most.
type Sketch struct {
	Took  time.Duration
	share float64 // of a processor that the relay has
}

var _ Bed = (*Sketch)(nil)

// Estimate is how long each scenario takes, without rounds that are repeated.
func Estimate(peers []bench.Peer, scenarios []Scenario) []time.Duration {
	list := make([]time.Duration, len(scenarios))
	for i := range scenarios {
		bed := &Sketch{}
		r := Runner{Bed: bed, Peers: peers, Knee: sketchKnee, NoiseMax: 1, Say: func(string, ...any) {}}
		var into bench.Report
		r.Run(context.Background(), scenarios[i:i+1], &into)
		list[i] = bed.Took
	}
	return list
}

// Launch implements Bed.
func (b *Sketch) Launch(context.Context, bench.Peer, bool, bool) (Relay, error) {
	b.Took += sketchLaunch
	b.share = 1
	return &sketchRelay{b}, nil
}

// Fleet implements Bed.
func (b *Sketch) Fleet(job loadgen.Job, atEdge func(int)) (metered, bare loadgen.Fleet, err error) {
	f := &sketchFleet{b, job, atEdge}
	return f, f, nil
}

// Use implements Bed.
func (b *Sketch) Use() (all host.Use, own time.Duration, err error) {
	return host.Use{Idle: b.Took}, 0, nil
}

// Kernel implements Bed.
func (b *Sketch) Kernel() (int64, error) { return 0, nil }

// Wait implements Bed.
func (b *Sketch) Wait(_ context.Context, d time.Duration) error {
	b.Took += d
	return nil
}

// OpenFiles implements Bed.
func (b *Sketch) OpenFiles() int { return Machine{}.OpenFiles() }

type sketchRelay struct{ b *Sketch }

func (r *sketchRelay) Target() loadgen.Target {
	return loadgen.Target{Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), 1)}
}
func (r *sketchRelay) STUNPort() int                               { return 1 }
func (r *sketchRelay) CPU() (time.Duration, error)                 { return r.b.Took, nil }
func (r *sketchRelay) Sample() error                               { return nil }
func (r *sketchRelay) Sampled() (user, system int, err error)      { return 0, 0, nil }
func (r *sketchRelay) Memory() (int64, error)                      { return 0, nil }
func (r *sketchRelay) Allocations(context.Context) (uint64, error) { return 0, nil }
func (r *sketchRelay) Exchange(context.Context) (Exchange, error)  { return Exchange{}, nil }
func (r *sketchRelay) CountSyscalls(bool) (Counter, error)         { return sketchCounter{}, nil }
func (r *sketchRelay) Explain(err error) error                     { return err }
func (r *sketchRelay) Stop()                                       {}
func (r *sketchRelay) Throttle(share float64) error {
	r.b.share = share
	return nil
}

type sketchCounter struct{}

func (sketchCounter) Read() (uint64, error) { return 0, nil }
func (sketchCounter) Close()                {}

type sketchFleet struct {
	b      *Sketch
	job    loadgen.Job
	atEdge func(int)
}

func (f *sketchFleet) Ramp(context.Context) (*loadgen.RampResult, error) {
	n := f.job.Workload.Clients()
	took := time.Duration(n)*sketchLogin + time.Millisecond
	f.b.Took += took + time.Duration(n)*sketchLeave
	return &loadgen.RampResult{Clients: n, Wanted: n, Took: took}, nil
}

func (f *sketchFleet) Step(_ context.Context, s loadgen.Step) (*loadgen.StepResult, error) {
	f.b.Took += f.job.Lead(&s) + s.Warm + s.Window + sketchStep
	f.atEdge(0)
	f.atEdge(1)
	r := &loadgen.StepResult{Step: s, Window: s.Window}
	if f.job.Workload.Cut != nil {
		r.Readmit = s.Window
	}
	if s.Ask {
		r.Asked = f.job.Workload.Clients()
		r.Answered = r.Asked
	}
	latency := loadgen.NewHist() // of one packet, whatever came
	latency.Record(time.Millisecond)
	if f.job.Workload.STUN != nil {
		r.STUN = &loadgen.STUNResult{Due: 1, Sent: 1, Answered: 1, Asked: 1, Latency: latency}
	}
	limit := sketchRate * f.b.share
	for i := range f.job.Workload.Groups {
		g := &f.job.Workload.Groups[i]
		due := g.PerSecond(&s)
		if g.FullSpeed() {
			due = limit
		}
		count := func(v float64) uint64 { return uint64(v * s.Window.Seconds()) }
		got := count(math.Min(due, limit))
		r.Groups = append(r.Groups, loadgen.GroupResult{Name: g.Name, Due: count(due), Sent: got,
			Delivered: got, Latency: latency})
		r.Books.Delivered += got
	}
	r.Books.Sent, r.Books.Due, r.Books.DroppedKnown = r.Books.Delivered, r.Books.Delivered, true
	return r, nil
}

func (f *sketchFleet) Progress() loadgen.Progress { return loadgen.Progress{} }
func (f *sketchFleet) Close() error               { return nil }
