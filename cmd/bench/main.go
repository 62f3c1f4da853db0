package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"derpd/bench"
)

const usage = `bench measures relay binaries that take derper's flags, one after the other in a run.

	bench idle     -peer derpd=./derpd -peer derper=./derper   memory of silent clients
	bench overload -peer derpd=./derpd -peer derper=./derper   throughput when flooded
	bench rate     -peer derpd=./derpd -peer derper=./derper   CPU and latency at a fixed rate

The first -peer is the one that the others are compared with, and that overload judges.
"bench <command> -help" lists the flags. The report goes to standard output, progress to
standard error. Exit status: 0 all well, 1 a peer failed or a verdict is FAIL, 2 a mistake in
the command line, 3 interrupted or the run as a whole could not be made.
`

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	os.Exit(status)
}

const (
	exitFailed = 1
	exitUsage  = 2
	exitNoRun  = 3
)

func run(ctx context.Context, args []string, out, errs io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(errs, usage)
		return exitUsage
	}
	c := &command{FlagSet: flag.NewFlagSet("bench "+args[0], flag.ContinueOnError), errs: errs}
	c.SetOutput(errs)
	var start func(context.Context) (*bench.Report, error)
	switch args[0] {
	case "idle":
		start = c.idle()
	case "overload":
		start = c.overload()
	case "rate":
		start = c.rate()
	case "help", "-h", "-help", "--help":
		fmt.Fprint(out, usage)
		return 0
	default:
		fmt.Fprintf(errs, "bench: no command %q\n\n%s", args[0], usage)
		return exitUsage
	}
	if err := c.Parse(args[1:]); err != nil { // which tells by itself
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return exitUsage
	}
	if err := c.check(); err != nil {
		fmt.Fprintln(errs, err)
		return exitUsage
	}
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	report, err := start(ctx)
	if err != nil {
		fmt.Fprintln(errs, err)
		return exitNoRun
	}
	write := report.Text
	if c.json {
		write = report.JSON
	}
	if err := write(out); err != nil {
		fmt.Fprintln(errs, err)
		return exitNoRun
	}
	if report.Failed() {
		return exitFailed
	}
	return 0
}

// command holds the flags that all subcommands have.
type command struct {
	*flag.FlagSet
	errs  io.Writer
	peers []bench.Peer
	json  bool
	plain bool
	cpu   int
	limit time.Duration
}

func (c *command) common(cpu int) {
	c.Func("peer", "`name=/path` of a relay binary; once for each peer, the judged one first",
		c.addPeer)
	c.BoolVar(&c.json, "json", false, "print the report as JSON instead of a table")
	c.BoolVar(&c.plain, "plain", false, "TCP without TLS instead of TLS")
	c.DurationVar(&c.limit, "timeout", time.Hour, "end the whole run like an interrupt after this")
	c.IntVar(&c.cpu, "cpu", cpu, "processor for the relay alone, the generator takes the others; "+
		"0 is the first, -1 binds neither")
}

func (c *command) addPeer(s string) error {
	name, path, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return fmt.Errorf("want name=/path/to/binary")
	}
	for _, p := range c.peers {
		if p.Name == name {
			return fmt.Errorf("name %q is taken", name)
		}
	}
	found, err := exec.LookPath(path)
	if err != nil {
		return err
	}
	if found, err = filepath.Abs(found); err != nil {
		return err
	}
	c.peers = append(c.peers, bench.Peer{Name: name, Path: found})
	return nil
}

func (c *command) check() error {
	if c.NArg() > 0 {
		return fmt.Errorf("%s: %q is no flag", c.Name(), c.Arg(0))
	}
	if len(c.peers) == 0 {
		return fmt.Errorf("%s: nothing to measure: give at least one -peer name=/path", c.Name())
	}
	return nil
}

func (c *command) say(format string, args ...any) {
	fmt.Fprintf(c.errs, format+"\n", args...)
}

func (c *command) idle() func(context.Context) (*bench.Report, error) {
	c.common(-1)
	var o bench.IdleOptions
	c.IntVar(&o.Clients, "clients", 10000, "clients to log in")
	c.DurationVar(&o.Settle, "settle", 30*time.Second, "least time to wait before measuring; "+
		"the wait goes on while memory moves by 1% in 10s, up to four times as long")
	return func(ctx context.Context) (*bench.Report, error) {
		o.Plain, o.CPU = c.plain, c.cpu
		if o.Clients < 1 || o.Settle < 0 {
			return nil, errors.New("bench idle: -clients must be at least 1, -settle not negative")
		}
		report := bench.NewReport("idle", c.peers, o)
		results, err := bench.Idle(ctx, c.peers, o, c.say)
		report.Results = results
		return report, err
	}
}

func (c *command) overload() func(context.Context) (*bench.Report, error) {
	c.common(0)
	o := bench.OverloadOptions{Ladder: []float64{10e3, 20e3, 40e3, 60e3, 80e3, 120e3, 160e3,
		240e3, 320e3, 480e3}}
	c.IntVar(&o.Pairs, "pairs", 10, "senders, each with a receiver of its own")
	c.IntVar(&o.Size, "size", 1400, "payload bytes of a frame")
	c.IntVar(&o.Rounds, "rounds", 3, "rounds over all peers; medians are printed")
	c.DurationVar(&o.Step, "step", 1500*time.Millisecond, "measured time of one rung")
	c.DurationVar(&o.Flood, "flood", 5*time.Second, "measured time at full speed")
	c.Func("ladder", "offered `rates` in frames/s, ascending, with commas (default "+
		"10000,20000,40000,60000,80000,120000,160000,240000,320000,480000); the ladder ends "+
		"early once a rung delivers 30% less than the best, or 70% cannot be offered",
		func(s string) (err error) {
			o.Ladder, err = parseLadder(s)
			return err
		})
	return func(ctx context.Context) (*bench.Report, error) {
		o.Plain, o.CPU = c.plain, c.cpu
		if o.Rounds < 1 || o.Step <= 0 || o.Flood <= 0 {
			return nil, errors.New("bench overload: -rounds, -step and -flood must be positive")
		}
		report := bench.NewReport("overload", c.peers, o)
		results, err := bench.Overload(ctx, c.peers, o, c.say)
		report.Results, report.Verdicts = results, bench.Judge(results)
		return report, err
	}
}

func parseLadder(s string) (ladder []float64, err error) {
	for _, f := range strings.Split(s, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(f), 64)
		if err != nil || v <= 0 {
			return nil, fmt.Errorf("%q is no rate", f)
		}
		if len(ladder) > 0 && v <= ladder[len(ladder)-1] {
			return nil, fmt.Errorf("%q does not ascend", f)
		}
		ladder = append(ladder, v)
	}
	return ladder, nil
}

func (c *command) rate() func(context.Context) (*bench.Report, error) {
	c.common(0)
	var o bench.RateOptions
	c.Float64Var(&o.Rate, "pps", 20000, "frames a second of all pairs together")
	c.IntVar(&o.Pairs, "pairs", 10, "senders, each with a receiver of its own")
	c.IntVar(&o.Frames, "frames", 1, "frames a write")
	c.IntVar(&o.Size, "size", 1400, "payload bytes of a frame")
	c.IntVar(&o.Rounds, "rounds", 3, "rounds over all peers; medians are printed")
	c.DurationVar(&o.Tick, "tick", 0, "let frames come in bunches this far apart, as a client's "+
		"timers would make them; 0 spaces them evenly")
	c.DurationVar(&o.Window, "for", 5*time.Second, "measured time of a round")
	return func(ctx context.Context) (*bench.Report, error) {
		o.Plain, o.CPU = c.plain, c.cpu
		if o.Rate <= 0 || o.Rounds < 1 || o.Frames < 1 || o.Window <= 0 || o.Tick < 0 {
			return nil, errors.New("bench rate: -pps, -rounds, -frames and -for must be " +
				"positive, -tick not negative")
		}
		report := bench.NewReport("rate", c.peers, o)
		results, err := bench.Rate(ctx, c.peers, o, c.say)
		report.Results = results
		return report, err
	}
}
