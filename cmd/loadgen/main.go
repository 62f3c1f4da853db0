package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"derpd/loadgen/report"
)

const usage = `loadgen simulates the clients of DERP relays, and plans their capacity.

	loadgen run [flags] ADDRESS...     let a workload run through one relay or the nodes of a region
	loadgen plan [flags] ADDRESS       find out what this host's relay carries, and what a goal needs
	loadgen demo [flags] [ADDRESS]     1,000 clients in a live view, through a relay of its own if none
	                                   is named
	loadgen merge -o FILE REPORT...    one report of several machines'
	loadgen show [-html FILE] REPORT   a report as tables, or as a page
	loadgen workloads                  what the workloads are, and where their numbers come from

"loadgen COMMAND -help" lists the flags. Addresses are host:port on loopback or in a network
namespace; others must be named with -allow-target.

Exit status: 0 all well, 1 a check failed (lost packets, clients that do not answer), 2 a mistake in
the command line, 3 nothing could be measured, 4 interrupted: the report is partial.
`

const exitUsage = 2

func main() {
	if len(os.Args) > 1 && os.Args[1] == workerCommand {
		os.Exit(worker())
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel) // a second signal ends the process
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// command is one subcommand: it declares its flags, and runs when they are parsed.
type command struct {
	flags func(fs *flag.FlagSet) func(ctx context.Context, c *console, args []string) error
}

var commands = map[string]command{
	"run":       {runFlags},
	"plan":      {planFlags},
	"demo":      {demoFlags},
	"merge":     {mergeFlags},
	"show":      {showFlags},
	"workloads": {workloadsFlags},
}

// console is where a command speaks to: results on out, the rest on errs.
type console struct {
	out, errs io.Writer
	args      []string // of the whole command line
}

// status is an error that only says how the process ends: everything has been said.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// usageError is a mistake in the command line.
type usageError struct{ error }

func misuse(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func run(ctx context.Context, args []string, out, errs io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(errs, usage)
		return exitUsage
	}
	name := args[0]
	switch name {
	case "help", "-h", "-help", "--help":
		fmt.Fprint(out, usage)
		return 0
	case "-version", "--version", "version":
		fmt.Fprintln(out, version())
		return 0
	}
	cmd, ok := commands[name]
	if !ok {
		fmt.Fprintf(errs, "loadgen: no command %q\n\n%s", name, usage)
		return exitUsage
	}
	fs := flag.NewFlagSet("loadgen "+name, flag.ContinueOnError)
	fs.SetOutput(errs)
	do := cmd.flags(fs)
	if err := fs.Parse(args[1:]); err != nil { // which tells by itself
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return exitUsage
	}
	err := do(ctx, &console{out, errs, args}, fs.Args())
	var code status
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usageError{}):
		fmt.Fprintf(errs, "loadgen %s: %v\n", name, err)
		return exitUsage
	}
	fmt.Fprintf(errs, "loadgen %s: %v\n", name, err)
	return report.ExitNotMade
}
