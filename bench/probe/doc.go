// Package probe counts what the process of a relay does, from outside: its system calls
// (CountSyscalls), its heap allocations (Allocations), where it spends its time (Samples), and it
// holds a process to a share of a processor (Throttle).
//
// It knows Linux: perf events, tracefs, cgroups of both versions; and of a relay only
// that it is a process, or serves /debug/pprof/heap. It knows neither scenarios nor figures.
// What needs a right or a kernel option that is missing returns ErrUnavailable with what and why,
// so that the rest of a run can go on.
//
// Ownership: a Counter, a Sampler and a Group belong to who made them and must be closed, which
// undoes all: nothing is left mounted, counted or throttled.
package probe
