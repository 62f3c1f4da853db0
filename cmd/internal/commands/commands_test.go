package commands

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
)

// TestLine: what is printed can be typed again.
func TestLine(t *testing.T) {
	c := Console{Args: []string{"run", "-peer", "a=no-files:bin/a -engine epoll", "-o", "it's.json", ""}}
	want := `bench run -peer 'a=no-files:bin/a -engine epoll' -o 'it'\''s.json' ''`
	if got := c.Line("bench"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestRun(t *testing.T) {
	var said error
	p := Program{Name: "prog", Usage: "the usage\n", Commands: map[string]Command{
		"say": func(fs *flag.FlagSet) func(context.Context, *Console, []string) error {
			loud := fs.Bool("loud", false, "louder")
			return func(_ context.Context, c *Console, args []string) error {
				fmt.Fprint(c.Out, *loud, args, c.Args)
				return said
			}
		}}}
	for _, tc := range []struct {
		args      string
		said      error
		status    int
		out, errs string // what there is, among others
	}{
		{"", nil, ExitMisuse, "", "the usage"},
		{"help", nil, 0, "the usage", ""},
		{"--help", nil, 0, "the usage", ""},
		{"dance", nil, ExitMisuse, "", `prog: no command "dance"`},
		{"version", nil, ExitMisuse, "", `no command "version"`},
		{"say -help", nil, 0, "", "louder"},
		{"say -quiet", nil, ExitMisuse, "", "-quiet"},
		{"say -loud a", nil, 0, "true [a] [say -loud a]", ""},
		{"say", errors.New("no voice"), ExitNotDone, "false", "prog say: no voice\n"},
		{"say", Misuse("%d words", 3), ExitMisuse, "", "prog say: 3 words\n"},
		{"say", fmt.Errorf("so: %w", Misused(errors.New("mute"))), ExitMisuse, "", "so: mute"},
		{"say", Status(7), 7, "false", ""},
	} {
		said = tc.said
		var out, errs bytes.Buffer
		got := p.Run(t.Context(), strings.Fields(tc.args), &out, &errs)
		if got != tc.status || !strings.Contains(out.String(), tc.out) ||
			!strings.Contains(errs.String(), tc.errs) || tc.errs == "" && errs.Len() > 0 {
			t.Errorf("%q, %v: status %d, want %d\n%s\n%s", tc.args, tc.said, got, tc.status, &out, &errs)
		}
	}
	p.Version = func() string { return "prog 1" }
	var out bytes.Buffer
	if got := p.Run(t.Context(), []string{"-version"}, &out, &out); got != 0 ||
		out.String() != "prog 1\n" {
		t.Errorf("status %d, %q", got, &out)
	}
}
