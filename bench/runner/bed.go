package runner

import (
	"context"
	"time"

	"derpd/bench"
	"derpd/loadgen"
	"derpd/loadgen/host"
)

// Bed is the machine that peers run on.
type Bed interface {
	// Launch starts a peer, with TLS unless plain, with STUN if asked for, and returns when it takes
	// connections. The error quotes what it logged.
	Launch(ctx context.Context, p bench.Peer, plain, stun bool) (Relay, error)
	// Fleet makes clients. The first fleet reads what the relay drops and calls atEdge as a window
	// begins (0) and ends (1); the second is the same clients without that, so that nobody but them
	// keeps the relay busy.
	Fleet(job loadgen.Job, atEdge func(edge int)) (metered, bare loadgen.Fleet, err error)
	// Use is the use of the whole machine, and of this process.
	Use() (all host.Use, own time.Duration, err error)
	// Kernel is what the kernel holds for sockets, in bytes.
	Kernel() (bytes int64, err error)
	// OpenFiles is how many files a relay may open.
	OpenFiles() int
	// Wait lets time pass.
	Wait(ctx context.Context, d time.Duration) error
}

// Exchange is what the loops of a relay, if it has such, do for each other.
type Exchange struct {
	Crossed float64 // packets from one loop to another
	Wakeups float64 // system calls by which loops are woken
	Posts   float64 // functions that loops are given to run
}

// Relay is a peer that runs. Readings are of its process; those that this machine or this peer does
// not offer wrap probe.ErrUnavailable.
type Relay interface {
	Target() loadgen.Target
	STUNPort() int
	CPU() (time.Duration, error)                    // since it was started
	Sample() error                                  // begins to look where it is
	Sampled() (user, system int, err error)         // ends that: how often it was where
	Memory() (int64, error)                         // resident bytes
	CountSyscalls(scheduling bool) (Counter, error) // from now on
	Allocations(context.Context) (uint64, error)
	Exchange(context.Context) (Exchange, error) // since it was started
	// Throttle holds it to a share of a processor for the rest of its life.
	Throttle(share float64) error
	// Explain adds to an error what the relay logged last.
	Explain(err error) error
	Stop()
}

// Counter counts from its making on.
type Counter interface {
	Read() (uint64, error)
	Close()
}
