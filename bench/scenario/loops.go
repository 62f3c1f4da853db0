package scenario

import (
	"context"
	"fmt"

	"derpd/bench"
	"derpd/bench/runner"
)

// loops is what a relay with several loops does for packets from one to another. Which loop has a
// connection is the kernel's choice, so that with two every other packet crosses.
func loops(z size) runner.Scenario {
	return runner.Scenario{Name: "loops-tls", Rounds: z.few,
		Text: fmt.Sprintf("%d pairs, packets of %d bytes over TLS, one a write and evenly spaced, and "+
			"%d a write at full speed: what loops do for each other", crossPairs, bulkBytes, floodFrames),
		Play: func(ctx context.Context, s *runner.Session) error {
			for _, load := range []float64{20_000, 0} {
				at, frames := rateName(load), 1
				if load == 0 {
					at, frames = "full-speed", floodFrames
				}
				if _, err := s.Ramp(ctx, pairs(crossPairs, frames, load)); err != nil {
					return err
				}
				m, err := deliver(ctx, s, step(load, z.window))
				if err != nil {
					return err
				}
				addCost(s, at, load, m)
				if load > 0 {
					addLatency(s, at, load, m)
				}
				counts, err := addCounts(ctx, s, at, load, z.window)
				if err != nil {
					return err
				}
				s.Add(at, bench.CrossLoop, counts.Crossed, load, nil)
				s.Add(at, bench.Wakeups, counts.Wakeups, load, nil)
				s.Add(at, bench.Posts, counts.Posts, load, nil)
			}
			return nil
		}}
}
