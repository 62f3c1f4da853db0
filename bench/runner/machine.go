package runner

import (
	"context"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"derpd/bench"
	"derpd/bench/probe"
	"derpd/loadgen"
	"derpd/loadgen/engine"
	"derpd/loadgen/host"
	"derpd/loadgen/launch"
	"derpd/loadgen/meter"
	"derpd/loadgen/scrape"
)

// Machine is this machine as a Bed.
type Machine struct{ CPU int } // the relay's processor; negative: any

var _ Bed = Machine{}

// Launch implements Bed.
func (m Machine) Launch(ctx context.Context, p bench.Peer, plain, stun bool) (Relay,
	error) {
	probe.Prepare()
	region, err := launch.Start(ctx, launch.Options{Path: p.Path, Args: p.Args,
		Plain: plain || p.Plain, CPU: m.CPU, STUN: stun})
	if err != nil {
		return nil, err
	}
	return &process{region: region}, nil
}

// Fleet implements Bed.
func (m Machine) Fleet(job loadgen.Job, atEdge func(int)) (metered, bare loadgen.Fleet, err error) {
	e, err := engine.New(job)
	if err != nil {
		return nil, nil, err
	}
	f := meter.New(e, job)
	f.AtEdge = atEdge
	return f, e, nil
}

// Use implements Bed.
func (m Machine) Use() (all host.Use, own time.Duration, err error) {
	if all, err = host.ReadUse(); err != nil {
		return all, 0, err
	}
	var u unix.Rusage
	err = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return all, time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

// Kernel implements Bed.
func (m Machine) Kernel() (int64, error) {
	k, err := host.ReadKernel()
	sockets, _ := k.Sockets()
	return sockets + k.TCPBytes, err
}

// OpenFiles implements Bed.
func (m Machine) OpenFiles() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil || l.Max > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(l.Max) // Go programs raise theirs to that
}

// Wait implements Bed.
func (m Machine) Wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// process is a relay of one process.
type process struct {
	region  *launch.Region
	group   *probe.Group
	sampler *probe.Sampler
}

func (p *process) Target() loadgen.Target { return p.region.Targets[0] }
func (p *process) STUNPort() int          { return int(p.region.STUNPort) }
func (p *process) pid() int               { return p.region.Targets[0].PID }

func (p *process) CPU() (time.Duration, error) { return host.CPUTime(p.pid()) }
func (p *process) Memory() (int64, error)      { return host.RSS(p.pid()) }

func (p *process) Sample() (err error) {
	if p.sampler == nil {
		if p.sampler, err = probe.Samples(p.pid()); err != nil {
			return err
		}
	}
	return p.sampler.Start()
}

func (p *process) Sampled() (user, system int, err error) { return p.sampler.Stop() }

func (p *process) CountSyscalls(scheduling bool) (Counter, error) {
	c, err := probe.CountSyscalls(p.pid(), scheduling)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (p *process) Allocations(ctx context.Context) (uint64, error) {
	return probe.Allocations(ctx, p.Target())
}

func (p *process) Exchange(ctx context.Context) (Exchange, error) {
	m, err := scrape.Read(ctx, p.Target())
	if err != nil {
		return Exchange{}, fmt.Errorf("%w: %w", probe.ErrUnavailable, err)
	}
	if m.CrossLoop == scrape.Unknown || m.Wakeups == scrape.Unknown || m.Posts == scrape.Unknown {
		return Exchange{}, fmt.Errorf("%w: it does not tell of loops", probe.ErrUnavailable)
	}
	return Exchange{float64(m.CrossLoop), float64(m.Wakeups), float64(m.Posts)}, nil
}

func (p *process) Throttle(share float64) error {
	g, err := probe.Throttle(share)
	if err != nil {
		return err
	}
	if err := g.Add(p.pid()); err != nil {
		g.Close()
		return err
	}
	p.group = g
	return nil
}

func (p *process) Explain(err error) error { return p.region.Explain(err) }

// Stop lets the process end at full speed.
func (p *process) Stop() {
	if p.group != nil {
		p.group.Close()
	}
	if p.sampler != nil {
		p.sampler.Close()
	}
	p.region.Stop()
}
