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
)

const usage = `bench measures relays that take derper's flags, side by side in one run.

	bench run [flags] -peer NAME=COMMAND...   let peers take turns, and report what came of it
	bench report [flags] REPORT               a report as text, Markdown with plots, or a page
	bench compare [flags] OLD NEW             what changed, and whether that is a regression
	bench history [flags] FILE                a line a report in a file, and a page of how they moved
	bench document [flags] REPORT             fill a report's figures into a template of text
	bench scenarios                           what is measured, and how

"bench COMMAND -help" lists the flags. Relays run on loopback only.

Exit status: 0 all well, 1 a peer failed or a figure got worse, 2 a mistake in the command line or a
report that cannot be used, 3 nothing could be measured, 4 interrupted: the report is partial.
`

const (
	exitFailed  = 1
	exitUsage   = 2
	exitNoRun   = 3
	exitPartial = 4
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel) // a second signal ends the process
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// console is where a command reads and writes, and how it was called.
type console struct {
	out, errs io.Writer
	args      []string
}

// status is an error that only says how the process ends: everything has been said.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// usageError is a mistake in the command line, or a file that cannot be used.
type usageError struct{ error }

func misuse(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// command declares its flags, and returns what to do with the arguments when they are parsed.
type command func(fs *flag.FlagSet) func(context.Context, *console, []string) error

var commands = map[string]command{
	"run":       runCommand,
	"report":    reportCommand,
	"compare":   compareCommand,
	"history":   historyCommand,
	"document":  documentCommand,
	"scenarios": scenariosCommand,
}

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
	}
	cmd, ok := commands[name]
	if !ok {
		fmt.Fprintf(errs, "bench: no command %q\n\n%s", name, usage)
		return exitUsage
	}
	fs := flag.NewFlagSet("bench "+name, flag.ContinueOnError)
	fs.SetOutput(errs)
	do := cmd(fs)
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
		fmt.Fprintf(errs, "bench %s: %v\n", name, err)
		return exitUsage
	}
	fmt.Fprintf(errs, "bench %s: %v\n", name, err)
	return exitNoRun
}
