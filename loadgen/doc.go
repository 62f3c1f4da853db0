// Package loadgen is the vocabulary of the load generator: what is to be sent (Workload), through
// what (Target), at which rate (Step), what came of it (StepResult with its Books), and who does it
// (Fleet). It is plain data that goes through JSON: from the command to its worker processes, and
// from a run to a report, a planner or a benchmark.
//
// Ownership: values here belong to whoever holds them; nothing locks, reads a clock, opens a socket
// or starts a goroutine, except through a Fleet. The rooms around it:
//
//	loadgen/arrival    when packets are due: constant, Poisson, bursts, on and off
//	loadgen/packet     what a packet looks like, and whether a delivered one is right
//	loadgen/engine     a Fleet in this process: clients on event loops
//	loadgen/fleet      a Fleet of worker processes, where one cannot hold the clients
//	loadgen/stunload   STUN requests over UDP beside them
//	loadgen/launch     relays to be loaded, as processes
//	loadgen/host       the machine and the relay's process, from /proc
//	loadgen/scrape     the drops that a relay counts, from its /debug/varz
//	loadgen/meter      what the relays dropped and used during a step, by way of these two
//	loadgen/workloads  the named workloads, and where their numbers come from
//	loadgen/plan       how much a host carries, by search
//	loadgen/report     what is kept of a run: JSON, tables, plots; merged from several machines
//	loadgen/plotting   its plots, as SVG
//	loadgen/units      figures as people read them
//	loadgen/view       what a person sees meanwhile
//
// # Open loop
//
// A packet is due at a time that only the schedule knows, whether or not earlier ones got through.
// If its connection cannot take it then, it waits, and its latency counts from when it was due, so
// that a relay that stalls cannot hide it by holding the generator up (coordinated omission).
//
// # Books
//
// Every packet that was due is accounted for: see Books. What nobody can account for is an
// unexplained loss, and fails the run.
package loadgen
