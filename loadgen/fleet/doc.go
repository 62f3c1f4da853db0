// Package fleet is a loadgen.Fleet of worker processes, for clients that one process cannot hold
// because each takes a descriptor of it (RLIMIT_NOFILE).
//
// The parent (Open) starts copies of a program that call Serve, gives each a part of the job
// (Split), has them ramp and step together and merges what they return. A worker's clients belong
// to that worker alone; the parent never sees a connection. Nothing is shared but the clock:
// CLOCK_MONOTONIC is the machine's, so a step has one start in all processes.
//
// The two speak JSON, a message a line, over the worker's standard input and output. A worker
// prints nothing else there: another line is an error and ends it. What it writes to standard
// error is quoted when it dies.
//
// A worker ends when told to, when its standard input ends, or, by the kernel, when its parent
// dies. One that dies, breaks the protocol or falls silent costs the run its own clients only:
// they are counted as loadgen.FailLocal, and the result is partial.
//
// The package knows processes and messages. It must not know what a client does, nor the relay:
// what the relay counts (drops, processor time) is for whoever owns the run to read, once.
package fleet
