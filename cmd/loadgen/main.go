package main

import (
	"os"

	"derpd/cmd/internal/commands"
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

Exit status: 0 all well, 1 a check failed (lost packets, clients that do not answer or come back,
nothing due, more than 1 % of STUN requests without an answer, a plan that promises nothing), 2 a
mistake in the command line, 3 nothing could be measured, 4 interrupted: the report is partial.
`

// What commands speak of all the time.
type (
	console = commands.Console
	status  = commands.Status
)

var cli = commands.Program{Name: "loadgen", Usage: usage, Version: version,
	Commands: map[string]commands.Command{
		"run":       runFlags,
		"plan":      planFlags,
		"demo":      demoFlags,
		"merge":     mergeFlags,
		"show":      showFlags,
		"workloads": workloadsFlags,
	}}

func main() {
	if len(os.Args) > 1 && os.Args[1] == workerCommand {
		os.Exit(worker())
	}
	cli.Main()
}
