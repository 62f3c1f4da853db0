package meter

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"derpd/loadgen"
	"derpd/loadgen/host"
	"derpd/loadgen/scrape"
)

// Fleet is a loadgen.Fleet that also reads the relays.
type Fleet struct {
	loadgen.Fleet
	job  loadgen.Job
	pids []int
	// drops reads what a relay has dropped so far; a variable for the tests.
	drops func(context.Context, loadgen.Target) (map[string]uint64, error)
	// AtEdge, if set, is called when the window of a step begins (0) and when it ends (1), for those
	// who read more of the relay than this.
	AtEdge func(edge int)
}

var _ loadgen.Fleet = (*Fleet)(nil)

// New reads the relays that the job names: their metrics where a target has Varz, their processes
// where it has a PID.
func New(inner loadgen.Fleet, job loadgen.Job) *Fleet {
	f := &Fleet{Fleet: inner, job: job, drops: scrape.Drops}
	for _, t := range job.Targets {
		if t.PID != 0 && !slices.Contains(f.pids, t.PID) {
			f.pids = append(f.pids, t.PID)
		}
	}
	return f
}

// Ramp implements loadgen.Fleet.
func (f *Fleet) Ramp(ctx context.Context) (*loadgen.RampResult, error) {
	before, kernel := f.use(), kernelBytes()
	r, err := f.Fleet.Ramp(ctx)
	if err != nil {
		return nil, err
	}
	r.Relays = since(f.use(), before)
	if now := kernelBytes(); len(f.pids) > 0 && kernel > 0 && now > kernel {
		r.KernelBytes = now - kernel
	}
	return r, nil
}

// Step implements loadgen.Fleet.
func (f *Fleet) Step(ctx context.Context, s loadgen.Step) (*loadgen.StepResult, error) {
	before, known := f.allDrops(ctx)
	starter, ok := f.Fleet.(loadgen.Starter)
	if !ok {
		return nil, fmt.Errorf("meter: a fleet of type %T cannot begin at a given time", f.Fleet)
	}
	start := monotonic() + int64(f.job.Lead(&s))
	var edges [2][]loadgen.RelayUse
	ctx2, cancel := context.WithCancel(ctx)
	var sampler sync.WaitGroup
	sampler.Go(func() {
		for i, at := range []time.Duration{s.Warm, s.Warm + s.Window} {
			sleepUntil(ctx2, start+int64(at))
			edges[i] = f.use() // of a step that was cut short, as it is then
			if f.AtEdge != nil {
				f.AtEdge(i)
			}
		}
	})
	r, err := starter.StepAt(ctx, s, start)
	cancel()
	sampler.Wait()
	if err != nil {
		return nil, err
	}
	r.Relays = since(edges[1], edges[0])
	f.balance(ctx, r, before, known)
	return r, nil
}

// balance puts the relays' drops into the books.
func (f *Fleet) balance(ctx context.Context, r *loadgen.StepResult, before []map[string]uint64,
	known error) {
	after, err := f.allDrops(context.WithoutCancel(ctx))
	if known == nil {
		known = err
	}
	b := &r.Books
	b.Exposed = b.InFlight
	var sum map[string]uint64
	for i := range f.job.Targets {
		if known != nil {
			break
		}
		var d map[string]uint64
		if d, known = scrape.Diff(before[i], after[i]); known == nil {
			sum = add(sum, d)
		}
	}
	if known != nil {
		if r.Notes == nil {
			r.Notes = map[string]string{}
		}
		r.Notes["drops"] = known.Error()
		return
	}
	b.Dropped, b.DroppedKnown = sum, true
	b.Settle()
}

func add(sum, d map[string]uint64) map[string]uint64 {
	if sum == nil {
		sum = map[string]uint64{}
	}
	for reason, n := range d {
		if n > 0 {
			sum[reason] += n
		}
	}
	return sum
}

// allDrops reads every target. The error names the first that cannot be read.
func (f *Fleet) allDrops(ctx context.Context) (all []map[string]uint64, err error) {
	for _, t := range f.job.Targets {
		if t.Varz == "" {
			return nil, fmt.Errorf("the drops of %v are not known: it has no metrics page", t.Addr)
		}
		d, err := f.drops(ctx, t)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// use reads the relays' processes; one that has ended is left out.
func (f *Fleet) use() (all []loadgen.RelayUse) {
	for _, pid := range f.pids {
		cpu, err1 := host.CPU(pid)
		rss, err2 := host.RSS(pid)
		if err1 == nil && err2 == nil {
			all = append(all, loadgen.RelayUse{PID: pid, CPU: cpu, RSSBytes: rss})
		}
	}
	return all
}

// kernelBytes is what the sockets of this machine take; 0 if that cannot be told from the rest.
func kernelBytes() int64 {
	k, err := host.ReadKernel()
	slabs, exact := k.Sockets()
	if err != nil || !exact {
		return 0
	}
	return slabs + k.TCPBytes
}

// since is what was used between two readings.
func since(after, before []loadgen.RelayUse) (all []loadgen.RelayUse) {
	for _, a := range after {
		for _, b := range before {
			if a.PID == b.PID {
				a.CPU = a.CPU.Sub(b.CPU)
				a.GrewBytes = a.RSSBytes - b.RSSBytes
				all = append(all, a)
			}
		}
	}
	return all
}

// monotonic is CLOCK_MONOTONIC, which all processes of the machine share.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // every Linux has it
	}
	return t.Nano()
}

func sleepUntil(ctx context.Context, at int64) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(at - monotonic())):
	}
}
