package main

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"time"

	"derpd/cmd/internal/commands"
	"derpd/loadgen"
	"derpd/loadgen/host"
	"derpd/loadgen/report"
	"derpd/loadgen/scrape"
	"derpd/loadgen/view"
)

// demoSpan is how long a demonstration lasts.
const demoSpan = time.Minute

func demoFlags(fs *flag.FlagSet) func(context.Context, *console, []string) error {
	o := &runOptions{}
	o.declareTarget(fs)
	o.declareEngine(fs)
	fs.IntVar(&o.params.Clients, "clients", 1000, "clients, of which a tenth talks")
	fs.Var(&o.rates, "rate", "packets a second, all together; default: 2000")
	fs.DurationVar(&o.duration, "for", demoSpan, "`time` until it ends by itself")
	o.workload, o.quiet = "chatter", true
	return func(ctx context.Context, c *console, args []string) error {
		if o.launch == "" && len(args) == 0 {
			o.launch = beside("derpd")
		}
		if len(o.rates) == 0 {
			o.rates = rates{2000}
		}
		return o.demo(ctx, c, args)
	}
}

// beside is a program in the folder of this one, or by its name alone.
func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err != nil {
		return name
	}
	return path
}

func (o *runOptions) demo(ctx context.Context, c *console, args []string) error {
	if o.duration <= 0 || o.duration > runMax || len(o.rates) != 1 || o.rates[0] == 0 {
		return commands.Misuse("-for %v, -rate %v: show one rate above 0 for at most %v", o.duration,
			&o.rates, runMax)
	}
	w, err := o.named(o.rates[0])
	if err != nil {
		return err
	}
	job, err := o.job(w)
	if err != nil {
		return err
	}
	var stop func()
	if job.Targets, stop, err = o.targets(ctx, args); err != nil {
		return err
	}
	defer stop()
	f, err := o.open(job)
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := newReport(report.Run, c, job)
	measured := make(chan error, 1)
	go func() {
		defer cancel()
		var err error
		if r.Ramp, err = f.Ramp(ctx); err != nil {
			r.Error = o.explain(err).Error()
			measured <- nil
			return
		}
		step, err := f.Step(ctx, loadgen.Step{Rate: o.rates[0], Window: o.duration,
			Drain: 2 * time.Second})
		if err == nil {
			r.Steps = append(r.Steps, step)
		}
		measured <- err
	}()
	d := view.Demo{Title: "DERP clients that talk through " + job.Targets[0].Addr.String(),
		Out: c.Out, Progress: f.Progress, Relay: relayStats(ctx, job.Targets), CPU: ownCPU,
		For: o.duration, Terminal: terminal(c.Out)}
	d.Run(ctx)
	cancel()
	if err := <-measured; err != nil {
		return err
	}
	if len(r.Steps) > 0 { // Ctrl-C is how one leaves a demonstration
		r.Steps[0].Partial, r.Ramp.Partial = false, false
	}
	return o.deliver(c, r)
}

// relayStats reads the relays, all together: what cannot be read is left out.
func relayStats(ctx context.Context, targets []loadgen.Target) func() view.RelayStats {
	return func() (s view.RelayStats) {
		for _, t := range targets {
			if t.PID != 0 {
				cpu, err1 := host.CPU(t.PID)
				rss, err2 := host.RSS(t.PID)
				if err1 == nil && err2 == nil {
					s.CPU += cpu.Sum()
					s.RSSBytes += rss
				}
			}
			if t.Varz == "" {
				continue
			}
			m, err := scrape.Read(ctx, t)
			if err != nil {
				continue
			}
			s.Connections += int(max(m.Connections, 0))
			s.PacketsIn += uint64(max(m.Received, 0))
			s.PacketsOut += uint64(max(m.Sent, 0))
			for reason, n := range m.Dropped {
				if s.Dropped == nil {
					s.Dropped = map[string]uint64{}
				}
				s.Dropped[reason] += n
			}
		}
		return s
	}
}

// ownCPU is the processor time of this process.
func ownCPU() time.Duration {
	cpu, err := host.CPU(os.Getpid())
	if err != nil {
		return 0
	}
	return cpu.Sum()
}
