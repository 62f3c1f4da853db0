package scenario

import (
	"context"
	"fmt"
	"time"

	"derpd/bench"
	"derpd/bench/runner"
	"derpd/loadgen"
	"derpd/loadgen/workloads"
)

// build makes a named workload; a wrong name or parameter is a mistake in this room.
func build(name string, p workloads.Params, rate float64) loadgen.Workload {
	named, err := workloads.Find(name)
	if err != nil {
		panic(err)
	}
	w, err := named.Build(p, rate)
	if err != nil {
		panic(err)
	}
	return w
}

func bulkPairsOf(frames int, rate float64) loadgen.Workload {
	return pairs(bulkPairs, frames, rate)
}

func pairs(n, frames int, rate float64) loadgen.Workload {
	return build("bulk", workloads.Params{Pairs: n, Size: bulkBytes, Frames: frames}, rate)
}

// step is one at a rate, while the generator polls busily: the relay is not charged for waking it.
func step(rate float64, window time.Duration) loadgen.Step {
	return loadgen.Step{Rate: rate, Warm: warm, Window: window, Drain: drain, Busy: true}
}

// asleep lets the generator sleep when it has nothing to do: the processor is for the handshakes.
func asleep(s loadgen.Step) loadgen.Step {
	s.Busy = false
	return s
}

// deliver is a step of which something must be delivered. No figure tells of a relay that delivers
// nothing, for most of them are a packet's.
func deliver(ctx context.Context, s *runner.Session, step loadgen.Step) (*runner.Measured, error) {
	m, err := s.Step(ctx, step)
	if err != nil {
		return nil, err
	}
	// At full speed packets have no time at which they are due, and so no latency.
	if m.Packets() == 0 || step.Rate > 0 && m.Latency().Count() == 0 {
		return nil, fmt.Errorf("it delivered nothing of %d packets that were due in %v", m.Due(),
			step.Window)
	}
	return m, nil
}

// addStep records what every step at a rate yields.
func addStep(s *runner.Session, at string, load float64, m *runner.Measured) {
	addCost(s, at, load, m)
	addLatency(s, at, load, m)
}

func addCost(s *runner.Session, at string, load float64, m *runner.Measured) {
	all, user, system := m.CPUMicros()
	s.Add(at, bench.CPU, all, load, m)
	s.Add(at, bench.CPUUser, user, load, m)
	s.Add(at, bench.CPUSystem, system, load, m)
	s.Add(at, bench.Delivered, m.PerSecond(), load, m)
}

func addLatency(s *runner.Session, at string, load float64, m *runner.Measured) {
	h := m.Latency()
	if due := m.Due(); due > 0 {
		s.Add(at, bench.Lost, max(0, 1-float64(h.Count())/float64(due)), load, m)
	}
	s.Add(at, bench.P50, runner.Micros(h.At(50)), load, m)
	s.Add(at, bench.P99, runner.Micros(h.At(99)), load, m)
	s.Add(at, bench.P999, runner.Micros(h.At(99.9)), load, m)
	s.Add(at, bench.GeneratorIdle, m.Slack.Idle, load, m)
}

// addCounts runs a step more, of packets that come together, which is counted.
func addCounts(ctx context.Context, s *runner.Session, at string, load float64,
	window time.Duration) (runner.Counts, error) {
	enough := 0
	if load == 0 { // how many there are is not known before
		enough = countEnough
	}
	counts, err := s.Count(ctx, step(load, window), enough)
	if err != nil {
		return counts, err
	}
	s.Add(at, bench.Batched, counts.Syscalls, load, nil)
	s.Add(at, bench.Allocs, counts.Allocs, load, nil)
	return counts, nil
}

func way(plain bool) (suffix, text string) {
	if plain {
		return "plain", "plain TCP"
	}
	return "tls", "TLS"
}

// bulk is 10 pairs at two rates.
func bulk(z size, plain bool) runner.Scenario {
	suffix, text := way(plain)
	return runner.Scenario{Name: "bulk-" + suffix, Rounds: z.rounds, Plain: plain,
		Text: fmt.Sprintf("%d pairs, packets of %d bytes over %s: one a write and evenly spaced, and "+
			"%d a write at full speed", bulkPairs, bulkBytes, text, floodFrames),
		Play: func(ctx context.Context, s *runner.Session) error {
			if _, err := s.Ramp(ctx, bulkPairsOf(1, 1)); err != nil {
				return err
			}
			for _, load := range []float64{20_000, 60_000} {
				m, err := deliver(ctx, s, step(load, z.window))
				if err != nil {
					return err
				}
				addStep(s, rateName(load), load, m)
				if _, err := addCounts(ctx, s, rateName(load), load, z.window/2); err != nil {
					return err
				}
			}
			if _, err := s.Ramp(ctx, bulkPairsOf(floodFrames, 0)); err != nil {
				return err
			}
			m, err := deliver(ctx, s, step(0, z.window))
			if err != nil {
				return err
			}
			addCost(s, "full-speed", 0, m) // latency is what the queues hold
			_, err = addCounts(ctx, s, "full-speed", 0, z.window/2)
			return err
		}}
}

// rateName names a load: 20k.
func rateName(load float64) string { return fmt.Sprintf("%.0fk", load/1000) }

// latency is 10 pairs at shares of the reference's knee, the same for all peers.
func latency(z size) runner.Scenario {
	return runner.Scenario{Name: "latency-tls", Rounds: z.rounds, Knee: true,
		Text: fmt.Sprintf("%d pairs, packets of %d bytes, one a write, over TLS, at shares of the "+
			"reference's knee, the same for all", bulkPairs, bulkBytes),
		Play: func(ctx context.Context, s *runner.Session) error {
			if _, err := s.Ramp(ctx, bulkPairsOf(1, 1)); err != nil {
				return err
			}
			for _, share := range []float64{0.2, 0.5, 0.8} {
				load := share * s.Knee
				m, err := deliver(ctx, s, step(load, z.window))
				if err != nil {
					return err
				}
				at := fmt.Sprintf("%.0f%%", 100*share)
				addLatency(s, at, load, m)
				all, _, _ := m.CPUMicros()
				s.Add(at, bench.CPU, all, load, m)
			}
			return nil
		}}
}

// chatter is many clients of which some talk.
func chatter(z size) runner.Scenario {
	return runner.Scenario{Name: "chatter-tls", Rounds: z.rounds,
		Text: fmt.Sprintf("%d clients over TLS, a tenth of which talks, %d packets a second of 570 "+
			"bytes on average", z.clients, chatterRate),
		Play: func(ctx context.Context, s *runner.Session) error {
			_, err := s.Ramp(ctx, build("chatter", workloads.Params{Clients: z.clients}, chatterRate))
			if err != nil {
				return err
			}
			m, err := deliver(ctx, s, step(chatterRate, z.window))
			if err != nil {
				return err
			}
			addStep(s, "", chatterRate, m)
			return nil
		}}
}

// counts is only what can be counted, at loads where it hardly depends on speed.
func counts(z size, plain bool) runner.Scenario {
	suffix, text := way(plain)
	return runner.Scenario{Name: "counts-" + suffix, Rounds: z.rounds, Plain: plain,
		Text: fmt.Sprintf("what the relay does for a packet of %d bytes over %s: alone (one pair, %d "+
			"packets a second at most, each %v after the one before has arrived) and in bulk (%d pairs "+
			"at full speed, %d packets a write)", bulkBytes, text, lonelyRate, lonelyGap, bulkPairs,
			floodFrames),
		Play: func(ctx context.Context, s *runner.Session) error {
			lonely := build("bulk", workloads.Params{Pairs: 1, Size: bulkBytes}, lonelyRate)
			lonely.Groups[0].Apart = lonelyGap
			if _, err := s.Ramp(ctx, lonely); err != nil {
				return err
			}
			// Allocations of so few packets drown in those of asking for them.
			alone, err := s.Count(ctx, step(lonelyRate, z.window), 0)
			if err != nil {
				return err
			}
			s.Add("alone", bench.Syscalls, alone.Working, lonelyRate, nil)
			if _, err := s.Ramp(ctx, bulkPairsOf(floodFrames, 0)); err != nil {
				return err
			}
			_, err = addCounts(ctx, s, "bulk", 0, z.window)
			return err
		}}
}
