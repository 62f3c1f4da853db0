package main

import "derpd/cmd/internal/commands"

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
	exitPartial = 4
)

// What commands speak of all the time.
type (
	console = commands.Console
	status  = commands.Status
)

var cli = commands.Program{Name: "bench", Usage: usage, Commands: map[string]commands.Command{
	"run":       runCommand,
	"report":    reportCommand,
	"compare":   compareCommand,
	"history":   historyCommand,
	"document":  documentCommand,
	"scenarios": scenariosCommand,
}}

func main() { cli.Main() }
