package main

import (
	"context"
	"flag"

	"derpd/bench"
	"derpd/bench/history"
	"derpd/cmd/internal/commands"
	"derpd/loadgen/report"
)

func historyCommand(fs *flag.FlagSet) func(context.Context, *console, []string) error {
	var add, html, peer string
	fs.StringVar(&add, "add", "", "`report` to add to the file, as a line")
	fs.StringVar(&html, "html", "", "`file` to write a page to of how the figures moved")
	fs.StringVar(&peer, "peer", "derpd", "`name` of whom the page shows")
	return func(_ context.Context, c *console, args []string) error {
		if len(args) != 1 || add == "" && html == "" {
			return commands.Misuse("want the history's file, and -add REPORT or -html FILE or both")
		}
		if add != "" {
			r, err := bench.Read(add)
			if err != nil {
				return commands.Misused(err)
			}
			if err := history.Add(args[0], r); err != nil {
				return commands.Misused(err)
			}
		}
		if html == "" {
			return nil
		}
		lines, err := history.Read(args[0])
		if err != nil {
			return commands.Misused(err)
		}
		p, err := history.Page(lines, peer)
		if err != nil {
			return commands.Misused(err)
		}
		return report.WriteFile(html, p.HTML)
	}
}
