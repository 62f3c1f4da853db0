package commands

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"unicode"
)

// The exit statuses of an error that is no Status.
const (
	ExitMisuse  = 2 // a mistake in the command line, or a file that cannot be used
	ExitNotDone = 3 // any other
)

// Console is where a command speaks to, results on Out and the rest on Errs, and how the program
// was called.
type Console struct {
	Out, Errs io.Writer
	Args      []string // of the whole command line, without the program
}

// Line is the command line of a program, in a form that a shell takes.
func (c *Console) Line(program string) string {
	line := []string{program}
	for _, arg := range c.Args {
		if arg == "" || strings.ContainsFunc(arg, special) {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		line = append(line, arg)
	}
	return strings.Join(line, " ")
}

// special tells whether a shell may take a character for something else than itself.
func special(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_./:,=+@%", r)
}

// Status is an error that only says how the process ends: everything has been said.
type Status int

func (s Status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// misuse is an error of ExitMisuse.
type misuse struct{ error }

// Misuse describes a mistake in the command line.
func Misuse(format string, args ...any) error { return misuse{fmt.Errorf(format, args...)} }

// Misused makes an error one of whoever called the program.
func Misused(err error) error { return misuse{err} }

// Command declares its flags, and returns what to do with the arguments when they are parsed.
type Command func(fs *flag.FlagSet) func(context.Context, *Console, []string) error

// Program is a name and its commands.
type Program struct {
	Name     string
	Usage    string        // of the program; those of its commands are their flags
	Version  func() string // nil: it does not tell
	Commands map[string]Command
}

// Main runs the process's command line, which a signal interrupts and a second one kills, and ends
// the process.
func (p *Program) Main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel)
	os.Exit(p.Run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Run runs a command line and returns the exit status.
func (p *Program) Run(ctx context.Context, args []string, out, errs io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(errs, p.Usage)
		return ExitMisuse
	}
	name := args[0]
	switch name {
	case "help", "-h", "-help", "--help":
		fmt.Fprint(out, p.Usage)
		return 0
	case "version", "-version", "--version":
		if p.Version != nil {
			fmt.Fprintln(out, p.Version())
			return 0
		}
	}
	cmd, ok := p.Commands[name]
	if !ok {
		fmt.Fprintf(errs, "%s: no command %q\n\n%s", p.Name, name, p.Usage)
		return ExitMisuse
	}
	fs := flag.NewFlagSet(p.Name+" "+name, flag.ContinueOnError)
	fs.SetOutput(errs)
	do := cmd(fs)
	if err := fs.Parse(args[1:]); err != nil { // which tells by itself
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return ExitMisuse
	}
	err := do(ctx, &Console{out, errs, args}, fs.Args())
	var code Status
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	fmt.Fprintf(errs, "%s %s: %v\n", p.Name, name, err)
	if errors.As(err, &misuse{}) {
		return ExitMisuse
	}
	return ExitNotDone
}
