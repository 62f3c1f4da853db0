package loadgen

import (
	"context"
	"time"
)

// Fleet is a set of clients that log in once and then send as often as they are told to. Its
// methods are called by one goroutine, but for Progress, which anyone may call at any time.
//
// When ctx ends early, Ramp and Step return what there is, marked as partial, and no error.
type Fleet interface {
	// Ramp logs all clients in. An error means that nothing can be measured: no client came in, or
	// the fleet itself cannot be set up. Clients that fail are counted.
	Ramp(ctx context.Context) (*RampResult, error)
	// Step runs the traffic once. The error is of the fleet, not of its clients.
	Step(ctx context.Context, s Step) (*StepResult, error)
	Progress() Progress
	// Close ends all connections and frees what the fleet holds.
	Close() error
}

// Starter is a Fleet that can begin a step at a time which is agreed upon beforehand, so that the
// parts of a workload in several processes begin together.
type Starter interface {
	// StepAt is Step, begun at start, in nanoseconds of CLOCK_MONOTONIC, which all processes of a
	// machine share; 0, or a time that has passed, is now.
	StepAt(ctx context.Context, s Step, start int64) (*StepResult, error)
}

// Job is all that a fleet must know.
type Job struct {
	Targets  []Target `json:"targets"`
	Workload Workload `json:"workload"`
	Options  Options  `json:"options"`
}

// Lead is how long before its start a step should be announced, so that all that may be sealed
// ahead is: at a rate that any machine reaches.
func (j *Job) Lead(s *Step) time.Duration {
	const (
		least          = 25 * time.Millisecond
		bytesPerSecond = 1e9
		frameBytes     = 64 // header, key and what TLS adds
	)
	want := 0.0
	for i := range j.Workload.Groups {
		g := &j.Workload.Groups[i]
		if g.FullSpeed() {
			want = float64(j.Options.Ahead)
			break
		}
		want += g.PerSecond(s) * (s.Warm + s.Window).Seconds() * (MeanBytes(g.Sizes) + frameBytes)
	}
	want = min(want, float64(j.Options.Ahead))
	return least + time.Duration(want/bytesPerSecond*float64(time.Second))
}

// Options are how the generator does its work; the relay sees little of them.
type Options struct {
	Loops    int           `json:"loops"`            // 0: one for each processor but one, at least 1
	Sources  []string      `json:"sources"`          // local addresses; none: 127.0.0.0/8 if loopback
	Seed     uint64        `json:"seed"`             // of keys, schedules and contents
	LoginsAt int           `json:"logins_at_once"`   // in flight at most, each process
	LoginFor time.Duration `json:"login_timeout_ns"` // of one login
	PerSec   float64       `json:"ramp_per_second"`  // logins begun a second; 0: no bound
	Ahead    int64         `json:"ahead_bytes"`      // records sealed before they are due
	Sampled  int           `json:"sampled"`          // every n-th record is opened whole; 1: all
	Engine   string        `json:"engine"`           // of netpoll; empty: epoll
	FastLog  string        `json:"fast_start"`       // auto or off
	X25519   bool          `json:"x25519,omitempty"` // key exchange without post-quantum share
	// Part and Parts say which part of the workload's clients this process has.
	Part  int `json:"part,omitempty"`
	Parts int `json:"parts,omitempty"`
}

// Phase is what a fleet is doing.
type Phase string

// The phases of a fleet, in their order.
const (
	PhaseRamp  Phase = "ramp"
	PhaseReady Phase = "ready" // logged in, between steps
	PhaseWarm  Phase = "warm"
	PhaseRun   Phase = "steady"
	PhaseDrain Phase = "drain"
	PhaseDone  Phase = "done"
)

// Progress is a look at a fleet while it works. Counts are from the beginning of the phase Ramp for
// clients and failures, and of the step for packets.
type Progress struct {
	Phase     Phase             `json:"phase"`
	Since     time.Duration     `json:"since_ns"`   // in this phase
	Planned   time.Duration     `json:"planned_ns"` // of this phase; 0: it ends when it is done
	Clients   int               `json:"clients"`
	Wanted    int               `json:"wanted"`
	Failures  Failures          `json:"failures,omitempty"`
	Due       uint64            `json:"due"`
	Sent      uint64            `json:"sent"`
	Delivered uint64            `json:"delivered"`
	Blocked   int               `json:"blocked"` // senders that TCP holds back now
	Latency   *Hist             `json:"latency_ns,omitempty"`
	Idle      float64           `json:"idle"` // share of loop time, since the last look
	Dropped   map[string]uint64 `json:"dropped,omitempty"`
}
