package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"derpd/loadgen"
	"derpd/loadgen/engine"
	"derpd/loadgen/fleet"
	"derpd/loadgen/meter"
)

// workerCommand is the hidden command of worker processes.
const workerCommand = "worker"

// worker serves the parent that started this process, over its standard input and output.
func worker() int {
	// The terminal's Ctrl-C reaches the whole group; the parent tells its workers what to do.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	raiseFiles()
	err := fleet.Serve(context.Background(), os.Stdin, os.Stdout, openEngine)
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "loadgen worker:", err)
		return 1
	}
	return 0
}

func openEngine(job loadgen.Job) (loadgen.Fleet, error) {
	e, err := engine.New(job)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// raiseFiles takes all descriptors that this user may have, and returns their number.
func raiseFiles() uint64 {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		return 1024 // what POSIX systems give at least in practice
	}
	if r.Cur < r.Max {
		raised := unix.Rlimit{Cur: r.Max, Max: r.Max}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
			return r.Max
		}
	}
	return r.Cur
}

// parts decides on the number of processes, and says why it is not one.
func (f *jobFlags) parts(job *loadgen.Job) (int, string, error) {
	limit := raiseFiles()
	clients := job.Workload.Clients()
	n := fleet.PartsFor(clients, limit, fleet.Reserve)
	switch {
	case n == 0:
		return 0, "", fmt.Errorf("a process may open %d files, which leaves none for clients: raise "+
			"it (ulimit -n)", limit)
	case f.processes > 0 && f.processes < n:
		return 0, "", misuse("-processes %d cannot hold %d clients with %d open files each: at least "+
			"%d can", f.processes, clients, limit, n)
	case f.processes > 0:
		return f.processes, "-processes says so", nil
	case n > 1:
		return n, fmt.Sprintf("a process may open %d files (RLIMIT_NOFILE)", limit), nil
	}
	return 1, "", nil
}

// open makes the fleet of a job: in this process, or in several.
func (f *jobFlags) open(job loadgen.Job) (loadgen.Fleet, error) {
	n, why, err := f.parts(&job)
	if err != nil {
		return nil, err
	}
	if n == 1 {
		e, err := engine.New(job)
		if err != nil {
			return nil, err
		}
		return meter.New(e, job), nil
	}
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("where is this program, to start %d of it? %w", n, err)
	}
	inner, err := fleet.Open(job, n, []string{program, workerCommand}, why)
	if err != nil {
		return nil, err
	}
	return meter.New(inner, job), nil
}

// polls tells whether loops poll without sleeping: if each has a processor, one is left for the
// relay, and one process holds all clients.
func (f *jobFlags) polls(clients int) bool {
	if f.busy != auto {
		return f.busy == on
	}
	loops := f.options.Loops
	if loops == 0 {
		loops = max(1, runtime.NumCPU()-1)
	}
	n := fleet.PartsFor(clients, raiseFiles(), fleet.Reserve)
	return n == 1 && f.processes <= 1 && loops < runtime.NumCPU()
}
