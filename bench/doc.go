// Package bench is the vocabulary of benchmarks: what is measured (Measure, with its unit and the
// class that says how exact it is), of whom (Peer), and what came of it (Report, with a Result for
// each peer in each scenario, of which every Figure keeps its raw samples). It reads and writes
// reports as JSON, writes them in Go's benchmark format, and summarises samples.
//
// Ownership: values here are plain data of whoever holds them. Nothing starts a process, opens a
// socket or reads a clock. The rooms around it:
//
//	bench/probe     what a relay's process does: system calls, allocations, processor time
//	bench/runner    runs scenarios on peers in turns, and keeps what was not disturbed
//	bench/scenario  the scenarios, made of loadgen's workloads with fixed sizes
//	bench/compare   two reports against each other
//	bench/present   tables, Markdown, plots and pages
//	bench/history   a line a commit, and how figures moved
//	bench/peers     the derpers that are compared with
//	bench/baseline  three small relays to measure against
package bench
