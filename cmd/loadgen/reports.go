package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"

	"derpd/cmd/internal/commands"
	"derpd/loadgen/report"
	"derpd/loadgen/workloads"
)

func mergeFlags(fs *flag.FlagSet) func(context.Context, *console, []string) error {
	o := &runOptions{}
	fs.StringVar(&o.out, "o", "", "`file` to write the report to, as JSON")
	fs.StringVar(&o.html, "html", "", "`file` to write the report to, as a page")
	return func(_ context.Context, c *console, args []string) error {
		if len(args) < 2 {
			return commands.Misuse("name at least two reports to add up")
		}
		var all []*report.Report
		for _, path := range args {
			r, err := report.Read(path)
			if err != nil {
				return err
			}
			all = append(all, r)
		}
		sum, err := report.Merge(all)
		if err != nil {
			return err
		}
		return o.deliver(c, sum, sections(sum)...)
	}
}

func showFlags(fs *flag.FlagSet) func(context.Context, *console, []string) error {
	o := &runOptions{}
	fs.StringVar(&o.html, "html", "", "`file` to write the report to, as a page")
	return func(_ context.Context, c *console, args []string) error {
		if len(args) != 1 {
			return commands.Misuse("name one report")
		}
		r, err := report.Read(args[0])
		if err != nil {
			return err
		}
		return o.deliver(c, r, sections(r)...)
	}
}

func workloadsFlags(*flag.FlagSet) func(context.Context, *console, []string) error {
	return func(_ context.Context, c *console, args []string) error {
		if len(args) > 0 {
			return commands.Misuse("%q: workloads takes no arguments", args[0])
		}
		return printWorkloads(c.Out)
	}
}

func printWorkloads(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range workloads.All {
		n := &workloads.All[i]
		for j, line := range wrap(n.Text, 84) {
			name := ""
			if j == 0 {
				name = n.Name
			}
			fmt.Fprintf(t, "%s\t%s\n", name, line)
		}
	}
	return t.Flush()
}

// wrap breaks a text into lines of at most n bytes.
func wrap(s string, n int) (lines []string) {
	for len(s) > n {
		at := n
		for at > 0 && s[at] != ' ' {
			at--
		}
		if at == 0 {
			break
		}
		lines = append(lines, s[:at])
		s = s[at+1:]
	}
	return append(lines, s)
}
