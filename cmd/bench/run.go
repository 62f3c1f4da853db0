package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"derpd/bench"
	"derpd/bench/present"
	"derpd/bench/runner"
	"derpd/bench/scenario"
	"derpd/cmd/internal/commands"
	"derpd/loadgen/host"
	"derpd/loadgen/report"
	"derpd/netpoll"
)

// runOptions are the flags of run.
type runOptions struct {
	peers     peers
	scale     string
	only      string
	reference string
	like      string
	cpu       int
	noise     float64
	knee      float64
	rounds    int
	limit     time.Duration
	dry       bool
	out       string
	goBench   string
}

// roundsMax bounds a run: more rounds make no median surer than the machine is.
const roundsMax = 100

func runCommand(fs *flag.FlagSet) func(context.Context, *console, []string) error {
	o := &runOptions{}
	fs.Var(&o.peers, "peer", "`NAME=PATH [FLAGS]` of a relay, once for each. Before PATH may stand "+
		"plain: for one that cannot do TLS, no-stun: for one without STUN, io_uring: for one that "+
		"is left out where the kernel refuses that, no-files: for one that may hold more "+
		"connections than it may open files, and only=SCENARIO,SCENARIO: for one that is in "+
		"those only")
	fs.StringVar(&o.scale, "scale", "quick", "`name` of what is measured: quick, full or gate, see "+
		"bench scenarios")
	fs.StringVar(&o.only, "only", "", "`names` of scenarios of that scale, with commas; default: all")
	fs.StringVar(&o.reference, "reference", "", "`name` of the peer that ratios are of; default: the "+
		"last whose name begins with derper")
	fs.StringVar(&o.like, "like", "", "`file` of an earlier report whose loads are taken, so that "+
		"both can be compared")
	fs.IntVar(&o.cpu, "cpu", 0, "processor for the relay alone, the generator takes the others; -1 "+
		"binds neither")
	fs.Float64Var(&o.noise, "noise", 0.05, "`share` of the machine that others may use in a turn "+
		"that counts; 1 takes every turn")
	fs.IntVar(&o.rounds, "rounds", 0, "rounds of each scenario; 0 is the scale's own")
	fs.DurationVar(&o.limit, "timeout", time.Hour, "end the whole run like Ctrl-C after this")
	fs.BoolVar(&o.dry, "dry-run", false, "only tell how long each scenario would take on a quiet "+
		"machine")
	fs.StringVar(&o.out, "o", "", "`file` to write the report to, as JSON")
	fs.StringVar(&o.goBench, "gobench", "", "`file` to write it to in Go's benchmark format")
	return o.run
}

// scenarios are those that the flags ask for.
func (o *runOptions) scenarios() ([]runner.Scenario, error) {
	scale, err := scenario.Find(o.scale)
	if err != nil {
		return nil, commands.Misused(err)
	}
	if err := o.peers.check(scale); err != nil {
		return nil, err
	}
	if o.only != "" {
		if err := scale.Only(strings.Split(o.only, ",")); err != nil {
			return nil, commands.Misused(err)
		}
	}
	for i := range scale.Scenarios {
		if o.rounds > 0 {
			scale.Scenarios[i].Rounds = o.rounds
		}
	}
	return scale.Scenarios, nil
}

func (o *runOptions) run(ctx context.Context, c *console, args []string) error {
	switch {
	case len(args) > 0:
		return commands.Misuse("%q is no flag", args[0])
	case len(o.peers) == 0:
		return commands.Misuse("nothing to measure: give at least one -peer NAME=PATH")
	case o.rounds < 0 || o.rounds > roundsMax:
		return commands.Misuse("-rounds %d: choose 1 to %d", o.rounds, roundsMax)
	case o.noise <= 0 || o.noise > 1:
		return commands.Misuse("-noise %v: choose a share above 0, at most 1", o.noise)
	case o.cpu >= runtime.NumCPU():
		return commands.Misuse("-cpu %d: this machine has processors 0 to %d", o.cpu, runtime.NumCPU()-1)
	}
	scenarios, err := o.scenarios()
	if err != nil {
		return err
	}
	var notes []string
	o.peers, notes = o.peers.possible(netpoll.ProbeURing())
	if o.dry {
		return o.estimate(c.Out, scenarios)
	}
	r, err := o.newReport(c)
	if err != nil {
		return err
	}
	raiseFiles()
	undo, err := host.AvoidCPU(o.cpu)
	if err != nil {
		return commands.Misused(err)
	}
	defer undo()
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	began := time.Now()
	run := runner.Runner{Bed: runner.Machine{CPU: o.cpu}, Peers: o.peers, Reference: r.Reference,
		Knee: o.knee, NoiseMax: o.noise, Say: func(format string, args ...any) {
			text := fmt.Sprintf(format, args...)
			fmt.Fprintf(c.Errs, "%5.0fs  %s\n", time.Since(began).Seconds(), text)
		}}
	run.Run(ctx, scenarios, r)
	r.Notes = append(notes, r.Notes...)
	return o.deliver(c, r)
}

// estimate prints how long it would take.
func (o *runOptions) estimate(w io.Writer, scenarios []runner.Scenario) error {
	t := report.Table{Left: 1}
	var sum time.Duration
	for i, d := range runner.Estimate(o.peers, scenarios) {
		t.Rows = append(t.Rows, []string{scenarios[i].Name, d.Round(time.Second).String()})
		sum += d
	}
	p := report.Page{Title: "Without rounds that are repeated",
		Verdict:  fmt.Sprintf("%v in all.", sum.Round(time.Second)),
		Sections: []report.Section{{Tables: []report.Table{t}}}}
	return p.Text(w)
}

// newReport says what is measured, where and by what.
func (o *runOptions) newReport(c *console) (*bench.Report, error) {
	var err error
	r := &bench.Report{Time: time.Now().UTC().Truncate(time.Second), Version: version(),
		Command: c.Line("bench"), Commit: commit(), Go: runtime.Version(),
		Scale: o.scale, CPU: o.cpu, Peers: o.peers}
	if r.Reference, err = o.peers.reference(o.reference); err != nil {
		return nil, err
	}
	if r.Machine, err = host.ReadMachine(); err != nil {
		return nil, err
	}
	if o.like != "" {
		earlier, err := bench.Read(o.like)
		if err != nil {
			return nil, commands.Misused(err)
		}
		o.knee = earlier.KneeTLS
	}
	return r, nil
}

// deliver prints a report and writes the files that were asked for.
func (o *runOptions) deliver(c *console, r *bench.Report) error {
	if err := present.Text(c.Out, r); err != nil {
		return err
	}
	if o.out != "" {
		if err := bench.Write(o.out, r); err != nil {
			return err
		}
	}
	if o.goBench != "" {
		err := report.WriteFile(o.goBench, func(w io.Writer) error { return bench.GoBench(w, r) })
		if err != nil {
			return err
		}
	}
	switch {
	case r.Partial:
		return status(exitPartial)
	case r.Failed():
		return status(exitFailed)
	}
	return nil
}

func scenariosCommand(*flag.FlagSet) func(context.Context, *console, []string) error {
	return func(_ context.Context, c *console, args []string) error {
		if len(args) > 0 {
			return commands.Misuse("%q: no argument is expected", args[0])
		}
		return present.Scenarios(c.Out, scenario.Scales())
	}
}

// raiseFiles takes all descriptors that this user may have. Scenarios that need more say so.
func raiseFiles() {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) == nil && l.Cur < l.Max {
		l.Cur = l.Max
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &l)
	}
}

// version is the program's.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
}

// commit is the one of the working folder, with a mark if that has changes; empty: not known.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12",
		"--exclude=*").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
