// Package scenario holds the scenarios of benchmarks: which of loadgen's workloads, of which
// size, at which loads and for how long, and which figures they yield. A Scale is a list of them
// for a purpose: a look in minutes, the whole in three quarters of an hour, or only what can be
// counted.
//
// It knows workloads and sessions (bench/runner). It must not know peers, processes or files. A
// scenario is plain data with a function; it keeps nothing between turns.
package scenario
