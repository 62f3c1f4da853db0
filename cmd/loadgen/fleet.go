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

	"derpd/cmd/internal/commands"
	"derpd/loadgen"
	"derpd/loadgen/engine"
	"derpd/loadgen/fleet"
	"derpd/loadgen/meter"
	"derpd/netpoll"
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

// shape is how the clients of a job are held: on which engine, in how many processes, and why it is
// not epoll in one.
type shape struct {
	engine netpoll.Engine
	parts  int
	why    string
}

// shape decides. More clients than a process may open files are held by io_uring, whose descriptors
// do not count, or else by several processes.
func (f *jobFlags) shape(clients int) (s shape, err error) {
	limit := raiseFiles()
	n := fleet.PartsFor(clients, limit, fleet.Reserve)
	files := fmt.Sprintf("a process may open %d files (RLIMIT_NOFILE)", limit)
	s = shape{netpoll.EngineEpoll, n, files}
	if f.engine == string(netpoll.EngineURing) || f.engine == auto && n != 1 && f.processes == 0 {
		switch err := netpoll.ProbeURing(); {
		case err == nil:
			s = shape{netpoll.EngineURing, 1, files + "; io_uring holds more"}
		case f.engine != auto:
			return s, fmt.Errorf("-engine %s: %w; use -engine auto", f.engine, err)
		default:
			s.why += fmt.Sprintf(", and io_uring cannot be used: %v", err)
		}
	}
	switch {
	case s.parts == 0:
		return s, fmt.Errorf("%s, which leaves none for clients: raise it (ulimit -n)", s.why)
	case f.processes > 0 && f.processes < s.parts:
		return s, commands.Misuse("-processes %d cannot hold %d clients with %d open files each: at "+
			"least %d can", f.processes, clients, limit, s.parts)
	case f.processes > 0:
		s.parts, s.why = f.processes, "-processes says so"
	case s.parts == 1 && n == 1:
		s.why = ""
	}
	return s, nil
}

// open makes the fleet of a job: in this process, or in several.
func (f *jobFlags) open(job loadgen.Job) (loadgen.Fleet, error) {
	s, err := f.shape(job.Workload.Clients())
	if err != nil {
		return nil, err
	}
	job.Options.Engine = string(s.engine)
	if s.parts == 1 {
		e, err := engine.New(job)
		if err != nil {
			return nil, err
		}
		return meter.New(because{e, s.why}, job), nil
	}
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("where is this program, to start %d of it? %w", s.parts, err)
	}
	inner, err := fleet.Open(job, s.parts, []string{program, workerCommand}, s.why)
	if err != nil {
		return nil, err
	}
	return meter.New(inner, job), nil
}

// because is an engine whose ramp says why it is not the usual one.
type because struct {
	*engine.Engine
	why string
}

// Ramp implements loadgen.Fleet.
func (b because) Ramp(ctx context.Context) (*loadgen.RampResult, error) {
	r, err := b.Engine.Ramp(ctx)
	if err == nil {
		r.Why = b.why
	}
	return r, err
}

// polls tells whether loops poll without sleeping: if each has a processor, one is left for the
// relay, and one process holds all clients within the limit of open files.
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
