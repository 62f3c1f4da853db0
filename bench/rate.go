package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"derpd/loadgen/host"
)

// RateOptions says who sends what, how fast and for how long.
type RateOptions struct {
	Rate   float64       `json:"rate"` // frames a second of all pairs
	Pairs  int           `json:"pairs"`
	Frames int           `json:"frames_per_write"`
	Size   int           `json:"size"` // payload bytes a frame
	Plain  bool          `json:"plain"`
	CPU    int           `json:"cpu"` // the relay's processor; negative: any
	Rounds int           `json:"rounds"`
	Tick   time.Duration `json:"tick"`   // frames come in bunches this far apart; 0: evenly, ns
	Window time.Duration `json:"window"` // ns
}

// RateResult is one relay at one rate. Latency runs from the moment a frame was due, not from
// when its sender got to it, so a stall costs every frame that waited; it includes what the
// generator itself adds, which is the same for all peers.
type RateResult struct {
	Peer   string `json:"peer"`
	Error  string `json:"error,omitempty"`
	Median Step   `json:"median"`
	Rounds []Step `json:"rounds"`
}

// Rate sends at a fixed rate through each peer, in turns. Errors as in Idle.
func Rate(ctx context.Context, peers []Peer, o RateOptions, say Say) ([]RateResult, error) {
	if err := checkFlow(o.Pairs, o.Size); err != nil {
		return nil, err
	}
	undo, err := takeMachine(o.CPU)
	if err != nil {
		return nil, err
	}
	defer undo()
	all := make([]RateResult, len(peers))
	for round := range o.Rounds {
		for i, p := range peers {
			res := &all[i]
			if res.Peer = p.Name; res.Error != "" {
				continue
			}
			err := withFlow(ctx, p, o.Plain, o.CPU, o.Pairs, o.Frames, o.Size,
				func(r *relay, f *flow) error {
					f.tick, f.timing = o.Tick, true
					s, err := f.step(ctx, r.pid, o.Rate, o.Window)
					if err == nil {
						res.Rounds = append(res.Rounds, s)
						say("round %d of %d: %s delivers %.0f/s, %.1f µs each, p50 %.0f p99 %.0f µs",
							round+1, o.Rounds, p.Name, s.Delivered, s.CPUMicros(),
							s.P50Micros, s.P99Micros)
					}
					return err
				})
			if ctx.Err() != nil {
				return all, ctx.Err()
			}
			if err != nil {
				res.Error = err.Error()
				say("%s: %v", p.Name, err)
			}
		}
	}
	for i := range all {
		all[i].Median = medianStep(all[i].Rounds)
	}
	return all, nil
}

// takeMachine leaves one processor to the relay and gives the Go runtime two threads beyond
// the loops, which never pause, for whoever stops them.
func takeMachine(cpu int) (undo func(), err error) {
	unbind, err := host.AvoidCPU(cpu)
	if err != nil {
		return nil, err
	}
	old := runtime.GOMAXPROCS(runtime.NumCPU() + 2)
	return func() { runtime.GOMAXPROCS(old); unbind() }, nil
}

// checkFlow refuses what cannot be sent or told apart.
func checkFlow(pairs, size int) error {
	if pairs < 1 {
		return fmt.Errorf("bench: %d pairs: at least one is needed", pairs)
	}
	if size < stampBytes || size > 64<<10 {
		return fmt.Errorf("bench: payload of %d bytes: want %d (number and time) to %d (DERP)",
			size, stampBytes, 64<<10)
	}
	return checkFiles(2 * pairs)
}
