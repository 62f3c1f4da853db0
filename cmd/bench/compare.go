package main

import (
	"context"
	"flag"
	"io"

	"derpd/bench"
	"derpd/bench/compare"
	"derpd/cmd/internal/commands"
	"derpd/loadgen/report"
)

func compareCommand(fs *flag.FlagSet) func(context.Context, *console, []string) error {
	var o compare.Options
	var out string
	fs.BoolVar(&o.Force, "force", false, "compare reports of different machines or sizes")
	fs.BoolVar(&o.Counted, "counted", false, "compare only what is counted, which does not depend on "+
		"the machine")
	fs.Func("most", "`PEER/LOAD/MEASURE=VALUE` that a figure may not exceed in its best round, "+
		"whatever it was, and all that is asked of it; once for each", func(s string) error {
		m, err := compare.ParseMost(s)
		o.Most = append(o.Most, m)
		return err
	})
	fs.StringVar(&out, "o", "", "`file` to write the summary to as well")
	return func(_ context.Context, c *console, args []string) error {
		if len(args) != 2 {
			return commands.Misuse("want two reports, the old one and the new one; %d were named", len(args))
		}
		old, err := bench.Read(args[0])
		if err != nil {
			return commands.Misused(err)
		}
		now, err := bench.Read(args[1])
		if err != nil {
			return commands.Misused(err)
		}
		r, err := compare.Reports(old, now, o)
		if err != nil {
			return commands.Misused(err)
		}
		if err := r.Markdown(c.Out); err != nil {
			return err
		}
		if out != "" {
			err := report.WriteFile(out, func(w io.Writer) error { return r.Markdown(w) })
			if err != nil {
				return err
			}
		}
		if r.Regressed() {
			return status(exitFailed)
		}
		return nil
	}
}
