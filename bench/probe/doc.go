// Package probe counts what the process of a relay does, from outside: its processor time to the
// nanosecond (CPU), its system calls (CountSyscalls), its heap allocations (Allocations), and it
// holds a process to a share of a processor (Throttle).
//
// It knows Linux: clocks, perf events, tracefs, cgroups of both versions; and of a relay only
// that it is a process, or serves /debug/varz. It knows neither scenarios nor figures. What needs
// a right or a kernel option that is missing returns ErrUnavailable with what and why, so that
// the rest of a run can go on.
//
// Ownership: a Counter and a Group belong to who made them and must be closed, which undoes all:
// nothing is left mounted, counted or throttled.
package probe
