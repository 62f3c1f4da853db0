package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"derpd/cmd/internal/commands"
	"derpd/loadgen"
	"derpd/loadgen/arrival"
	"derpd/loadgen/host"
	"derpd/loadgen/plan"
	"derpd/loadgen/report"
	"derpd/loadgen/view"
	"derpd/loadgen/workloads"
)

// runOptions are the flags of run beyond those of every job.
type runOptions struct {
	jobFlags
	rates    rates
	set      bool // rates were given
	duration time.Duration
	warm     time.Duration
	drain    time.Duration
	limit    time.Duration
	arrival  loadgen.Arrival
	patience time.Duration
	startAt  time.Time // of the first step; zero: when it is ready
	kind     string
	ask      bool
	dry      bool
	quiet    bool
	out      string
	html     string
	plan     string  // a report of a plan, whose workload is run …
	share    float64 // … at this share of the planned load
}

const (
	runMax    = time.Hour // of one window
	stepsMax  = 100
	overheads = 10 * time.Minute // what ramp and drains of a run may take beside its windows
	// betweenSteps is what a step of a given start may take beside its warm-up, window and drain: what
	// is sealed ahead, and the last question. startLateMax is how late it may begin.
	betweenSteps = 20 * time.Second
	startLateMax = 100 * time.Millisecond
)

func runFlags(fs *flag.FlagSet) func(context.Context, *console, []string) error {
	o := &runOptions{}
	o.declare(fs)
	fs.Var(&o.rates, "rate", "packets a second, all together; several with commas are run one after "+
		"the other; 0 is as fast as TCP takes them; default: the workload's own")
	fs.DurationVar(&o.duration, "for", 10*time.Second, "measured `time` of each rate")
	fs.DurationVar(&o.warm, "warm", time.Second, "sent before it and not measured")
	fs.DurationVar(&o.drain, "drain", 10*time.Second, "most to wait for what is under way at the end")
	fs.DurationVar(&o.limit, "timeout", 0, "end the whole run like Ctrl-C after this; 0: 10 m beside "+
		"the measured time")
	fs.Func("start-at", "`time` at which to begin, as in 2030-12-31T23:59:00Z, so that several "+
		"machines begin together; their clients must be in by then. A further rate begins when all "+
		"that the one before may take is over", func(s string) (err error) {
		o.startAt, err = time.Parse(time.RFC3339, s)
		return err
	})
	fs.StringVar(&o.kind, "arrival", "", "`kind` of arrivals instead of the workload's: constant, "+
		"poisson, bursts or on-off")
	fs.IntVar(&o.arrival.Burst, "burst", 0, "packets of a burst, for bursts")
	fs.DurationVar(&o.arrival.On, "on", 0, "mean `time` on, for on-off")
	fs.DurationVar(&o.arrival.Off, "off", 0, "mean `time` off, for on-off")
	fs.DurationVar(&o.patience, "patience", 0, "`time` that TCP may hold a packet back before its "+
		"sender drops it; 0: as long as it takes")
	fs.StringVar(&o.plan, "plan", "", "`report` of a plan: run its workload instead, at -share of "+
		"the planned load, and fail if not all but a thousandth is delivered or the planned p99 not "+
		"kept")
	fs.Float64Var(&o.share, "share", 0.8, "`part` of the planned load, with -plan")
	fs.BoolVar(&o.ask, "ask", true, "let every client prove by a ping at the end that it is served")
	fs.BoolVar(&o.dry, "dry-run", false, "say what would be run, and stop")
	fs.BoolVar(&o.quiet, "quiet", false, "no progress on standard error")
	fs.StringVar(&o.out, "o", "", "`file` to write the report to, as JSON")
	fs.StringVar(&o.html, "html", "", "`file` to write the report to, as a page")
	return func(ctx context.Context, c *console, args []string) error {
		o.set = o.given("rate") != ""
		if chosen := o.given(ofWorkload...); o.plan != "" && chosen != "" {
			return commands.Misuse("-%s: what is run with -plan is the plan's workload", chosen)
		}
		return o.run(ctx, c, args)
	}
}

// ofWorkload are the flags that say what a plan says too.
var ofWorkload = []string{"workload", "clients", "active", "pairs", "size", "frames", "rate",
	"arrival", "burst", "on", "off", "patience", "stun-port"}

// steps are what the flags ask for, checked.
func (o *runOptions) steps() ([]loadgen.Step, error) {
	if !o.set {
		named, err := workloads.Find(o.workload)
		if err != nil {
			return nil, commands.Misused(err)
		}
		o.rates = rates{named.Rate}
	}
	switch {
	case o.duration <= 0 || o.duration > runMax || o.warm < 0 || o.drain < 0:
		return nil, commands.Misuse("-for %v, -warm %v, -drain %v: measure more than 0 and at most %v, "+
			"and let nothing be negative", o.duration, o.warm, o.drain, runMax)
	case len(o.rates) > stepsMax:
		return nil, commands.Misuse("-rate has %d rates, more than %d", len(o.rates), stepsMax)
	}
	full := o.rates[0] == 0
	var all []loadgen.Step
	for _, r := range o.rates {
		if (r == 0) != full {
			return nil, commands.Misuse("-rate %v: full speed (0) is another workload than a rate; "+
				"make two runs", &o.rates)
		}
		all = append(all, loadgen.Step{Rate: r, Warm: o.warm, Window: o.duration, Drain: o.drain,
			Ask: o.ask})
	}
	return all, nil
}

func (o *runOptions) run(ctx context.Context, c *console, args []string) error {
	var w loadgen.Workload
	planned, err := o.planned()
	if err != nil {
		return err
	}
	if planned != nil {
		o.rates, o.set = rates{o.share * planned.Planned.Rate}, true
		w = planned.Workload
	}
	steps, err := o.steps()
	if err != nil {
		return err
	}
	if planned == nil {
		if w, err = o.named(steps[0].Rate); err != nil {
			return err
		}
	}
	if err := o.checkWorkload(&w); err != nil {
		return err
	}
	job, err := o.job(w)
	if err != nil {
		return err
	}
	if o.kind != "" {
		o.arrival.Kind = loadgen.ArrivalKind(o.kind)
		if err := arrival.Check(o.arrival); err != nil {
			return commands.Misused(err)
		}
		for i := range job.Workload.Groups {
			job.Workload.Groups[i].Arrival = o.arrival
		}
	}
	for i := range job.Workload.Groups {
		job.Workload.Groups[i].Patience = o.patience
	}
	if _, err := o.shape(w.Clients()); err != nil {
		return err
	}
	for i := range steps {
		steps[i].Busy = o.polls(job.Workload.Clients())
	}
	if o.dry && o.launch != "" {
		return o.describe(c, &job, steps)
	}
	var stop func()
	if job.Targets, stop, err = o.targets(ctx, args); err != nil {
		return err
	}
	defer stop()
	if o.dry {
		return o.describe(c, &job, steps)
	}
	if o.region != nil && job.Workload.STUN != nil {
		job.Workload.STUN.Port = int(o.region.STUNPort)
	}
	limit := o.limit
	if limit <= 0 {
		limit = overheads + time.Duration(len(steps))*(o.warm+o.duration+o.drain)
		if !o.startAt.IsZero() {
			limit += max(0, time.Until(o.begins(len(steps))))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r := o.measure(ctx, c, job, steps)
	if planned != nil {
		keep(r, planned)
	}
	return o.deliver(c, r)
}

// planned reads the plan that is to be kept; nil if there is none.
func (o *runOptions) planned() (*plan.Result, error) {
	if o.plan == "" {
		return nil, nil
	}
	if !(o.share > 0) {
		return nil, commands.Misuse("-share %v: run a part above 0 of the planned load", o.share)
	}
	r, err := report.Read(o.plan)
	if err != nil {
		return nil, err
	}
	var p plan.Result
	if err := json.Unmarshal(r.Plan, &p); r.Kind != report.Plan || err != nil {
		return nil, fmt.Errorf("%s is no report of a plan", o.plan)
	}
	if p.Planned.Rate <= 0 || p.Planned.P99 <= 0 {
		return nil, fmt.Errorf("the plan in %s promises nothing: %s", o.plan, p.Planned.Why)
	}
	return &p, nil
}

// keep notes in a report what of a plan was not kept.
func keep(r *report.Report, p *plan.Result) {
	for _, s := range r.Steps {
		r.Incidents = append(r.Incidents, p.Missed(s)...)
	}
}

// newReport begins a report of this process.
func newReport(kind report.Kind, c *console, job loadgen.Job) *report.Report {
	name, _ := os.Hostname() // without one the report names no machine
	r := &report.Report{Host: name, Kind: kind, Time: time.Now(),
		Command: c.Line("loadgen"),
		Version: version(), Job: job}
	if m, err := host.ReadMachine(); err == nil {
		r.Machine = m
	} else {
		r.Incidents = append(r.Incidents, "this machine cannot be described: "+err.Error())
	}
	return r
}

// measure runs the steps. What goes wrong stands in the report.
func (o *runOptions) measure(ctx context.Context, c *console, job loadgen.Job,
	steps []loadgen.Step) *report.Report {
	r := newReport(report.Run, c, job)
	f, err := o.open(job)
	if err != nil {
		r.Error = err.Error()
		return r
	}
	defer f.Close()
	defer o.watch(ctx, c, f)()
	if r.Ramp, err = f.Ramp(ctx); err != nil {
		r.Error = o.explain(err).Error()
		return r
	}
	for i, s := range steps {
		if err := o.await(ctx, i); err != nil {
			r.Incidents = append(r.Incidents, err.Error())
			break
		}
		if ctx.Err() != nil {
			r.Partial = true
			break
		}
		res, err := f.Step(ctx, s)
		if err != nil {
			r.Incidents = append(r.Incidents, o.explain(err).Error())
			break
		}
		r.Steps = append(r.Steps, res)
		if res.Clients == 0 && job.Workload.Clients() > 0 {
			gone := errors.New("no client is connected any more: the relay has gone")
			r.Incidents = append(r.Incidents, o.explain(gone).Error())
			break
		}
	}
	return r
}

// begins is when the i-th step begins, if the first has a given start.
func (o *runOptions) begins(i int) time.Time {
	return o.startAt.Add(time.Duration(i) * (o.warm + o.duration + o.drain + betweenSteps))
}

// await waits for the start of the i-th step, if one was given. The error is that it has passed.
func (o *runOptions) await(ctx context.Context, i int) error {
	if o.startAt.IsZero() || ctx.Err() != nil {
		return nil
	}
	wait := time.Until(o.begins(i))
	if wait < -startLateMax {
		return fmt.Errorf("step %d was to begin at %s and was ready %v later: give a later -start-at",
			i+1, o.begins(i).Format(time.RFC3339), -wait.Round(time.Millisecond))
	}
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
	return nil
}

// explain adds what a relay that we started logged.
func (o *runOptions) explain(err error) error {
	if o.region == nil {
		return err
	}
	return o.region.Explain(err)
}

// watch shows progress until the function it returns is called.
func (o *runOptions) watch(ctx context.Context, c *console, f loadgen.Fleet) (stop func()) {
	if o.quiet {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var done sync.WaitGroup
	done.Go(func() { view.Watch(ctx, c.Errs, terminal(c.Errs) != nil, f.Progress) })
	return func() {
		cancel()
		done.Wait()
	}
}

// terminal is the terminal that an output is, or nil.
func terminal(w io.Writer) *view.Terminal {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	return view.TerminalOf(f)
}

// deliver judges a report, prints it and writes the files that were asked for.
func (o *runOptions) deliver(c *console, r *report.Report, more ...report.Section) error {
	report.Judge(r)
	if err := report.Text(c.Out, r, more...); err != nil {
		return err
	}
	code := r.ExitCode()
	if o.out != "" {
		if err := report.Write(o.out, r); err != nil {
			fmt.Fprintln(c.Errs, "loadgen:", err)
			code = max(code, report.ExitFailed)
		}
	}
	if o.html != "" {
		err := report.WriteFile(o.html, func(w io.Writer) error { return report.HTML(w, r, more...) })
		if err != nil {
			fmt.Fprintln(c.Errs, "loadgen:", err)
			code = max(code, report.ExitFailed)
		}
	}
	if code != 0 {
		return status(code)
	}
	return nil
}

// describe says what would be run.
func (o *runOptions) describe(c *console, job *loadgen.Job, steps []loadgen.Step) error {
	w := &job.Workload
	shape, err := o.shape(w.Clients())
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "workload %s: %d clients, %d of them silent\n", w.Name, w.Clients(), w.Idle)
	for i := range w.Groups {
		g := &w.Groups[i]
		rate := "as fast as TCP takes them"
		if !g.FullSpeed() {
			rate = fmt.Sprintf("%.0f packets/s in the first step, %s", g.PerSecond(&steps[0]),
				g.Arrival.Kind)
		}
		fmt.Fprintf(c.Out, "  %s: %d senders, %d receivers, packets of %.0f bytes on average, %d a "+
			"write, %s\n", g.Name, g.Senders, g.Receivers, loadgen.MeanBytes(g.Sizes),
			g.FramesPerWrite, rate)
	}
	if o.launch != "" {
		fmt.Fprintf(c.Out, "relays to start: %d of %s %s\n", o.nodes, o.launch, o.launchArgs)
	}
	for _, t := range job.Targets {
		fmt.Fprintf(c.Out, "relay %v: host %q, plain %t, metrics %s, process %s\n", t.Addr, t.Host,
			t.Plain, orNone(t.Varz), orNone(fmt.Sprint(t.PID)))
	}
	if shape.why != "" {
		fmt.Fprintf(c.Out, "%s in %d processes: %s\n", shape.engine, shape.parts, shape.why)
	}
	for i, s := range steps {
		fmt.Fprintf(c.Out, "step %d: %.0f packets/s for %v after %v, at most %v to drain, polling "+
			"busily: %t\n", i+1, s.Rate, s.Window, s.Warm, s.Drain, s.Busy)
	}
	return nil
}

func orNone(s string) string {
	if s == "" || s == "0" {
		return "not known"
	}
	return s
}
