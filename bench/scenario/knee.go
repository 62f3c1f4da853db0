package scenario

import (
	"context"
	"fmt"
	"math"
	"time"

	"derpd/bench"
	"derpd/bench/runner"
	"derpd/loadgen"
)

// knee is how much a relay delivers at most.
func knee(z size, plain bool, frames int) runner.Scenario {
	suffix, text := way(plain)
	at := fmt.Sprintf("%d-a-write", frames)
	name := "knee-" + suffix
	if frames > 1 {
		name += fmt.Sprintf("-%d", frames)
	}
	return runner.Scenario{Name: name, Rounds: z.few, Plain: plain,
		Text: fmt.Sprintf("%d pairs, packets of %d bytes, %d a write, over %s: the most that is "+
			"delivered at any rate", bulkPairs, bulkBytes, frames, text),
		Play: func(ctx context.Context, s *runner.Session) error {
			if _, err := s.Ramp(ctx, bulkPairsOf(frames, 1)); err != nil {
				return err
			}
			best, err := search(ctx, s, ladderFirst, ladderLast)
			if err != nil {
				return err
			}
			all, user, system := best.CPUMicros()
			load := best.StepResult.Step.Rate
			s.Add(at, bench.Delivered, best.PerSecond(), 0, best)
			s.Add(at, bench.CPU, all, load, best)
			s.Add(at, bench.CPUUser, user, load, best)
			s.Add(at, bench.CPUSystem, system, load, best)
			s.Add(at, bench.GeneratorIdle, best.Slack.Idle, load, best)
			return nil
		}}
}

// search finds the rung that delivers most: up a ladder of rates until two in a row deliver much
// less or cannot be offered, then closer around the best. One alone may be a stall of the machine.
func search(ctx context.Context, s *runner.Session, first, last float64) (*runner.Measured, error) {
	var best *runner.Measured
	try := func(rate float64) (*runner.Measured, error) {
		m, err := s.Step(ctx, step(rate, rung))
		if err == nil && (best == nil || m.Packets() > best.Packets()) {
			best = m
		}
		return m, err
	}
	for rate, bad := first, 0; rate <= last && bad < 2; rate *= rungStep {
		m, err := try(rate)
		if err != nil {
			return nil, err
		}
		if float64(m.Packets()) < rungDrop*float64(best.Packets()) ||
			float64(m.Sent()) < rungReached*float64(m.Due()) {
			bad++
		} else {
			bad = 0
		}
	}
	ratio := float64(rungStep)
	for range refineSteps {
		ratio = math.Sqrt(ratio)
		if _, err := try(best.StepResult.Step.Rate * ratio); err != nil {
			return nil, err
		}
	}
	if best.Packets() == 0 {
		return nil, fmt.Errorf("it delivers nothing at %.0f packets a second", first)
	}
	return best, nil
}

// overload is what is left of the knee when much more is due. The relay has a small share of its
// processor, so that the generator can offer that much.
func overload(z size, frames int) runner.Scenario {
	return runner.Scenario{Name: fmt.Sprintf("overload-tls-%d", frames), Rounds: z.few,
		Text: fmt.Sprintf("%d pairs, packets of %d bytes, %d a write, over TLS, the relay held to "+
			"%.0f %% of a processor: what is delivered when 2, 5 and 10 times of the most that it "+
			"can is due", bulkPairs, bulkBytes, frames, 100*throttledShare),
		Play: func(ctx context.Context, s *runner.Session) error {
			if _, err := s.Ramp(ctx, bulkPairsOf(frames, 1)); err != nil {
				return err
			}
			share := throttledShare
			held, err := s.Throttle(share)
			if err != nil {
				return err
			}
			if !held {
				share = 1
				s.Remark("the relay has a whole processor, for this machine cannot hold it to less: " +
					"what is due may be more than the generator can offer")
			}
			best, err := search(ctx, s, ladderFirst*share, ladderLast*share)
			if err != nil {
				return err
			}
			peak := best.PerSecond()
			s.Add("knee", bench.Delivered, peak, 0, best)
			return overloads(ctx, s, peak, z.window)
		}}
}

// overloads are steps at multiples of the peak.
func overloads(ctx context.Context, s *runner.Session, peak float64, window time.Duration) error {
	for _, times := range []float64{2, 5, 10} {
		m, err := s.Step(ctx, step(times*peak, window))
		if err != nil {
			return err
		}
		at := fmt.Sprintf("%.0fx", times)
		s.Add(at, bench.Goodput, m.PerSecond()/peak, 0, m)
		s.Add(at, bench.Delivered, m.PerSecond(), 0, m)
		all, _, _ := m.CPUMicros()
		s.Add(at, bench.CPU, all, 0, m)
		if h := m.Latency(); h.Count() > 0 {
			s.Add(at, bench.P99, runner.Micros(h.At(99)), 0, m)
		}
	}
	return nil
}

// crowd is many senders to one receiver, and one that floods: are others hurt?
func crowd(z size) runner.Scenario {
	return runner.Scenario{Name: "crowd-tls", Rounds: z.few,
		Text: "10 pairs with 1,000 packets a second together, over TLS: alone, beside 20 senders at " +
			"full speed to one receiver, beside one sender at full speed, and beside 2,000 packets a " +
			"second to two receivers of which one reads slowly and one not at all",
		Play: func(ctx context.Context, s *runner.Session) error {
			incast, flood := build("incast", defaults, 0), build("flood", defaults, 0)
			slow := build("slow-reader", defaults, slowRate)
			calm := loadgen.Workload{Name: "calm", Groups: incast.Groups[1:]}
			for _, w := range []loadgen.Workload{calm, incast, flood, slow} {
				if _, err := s.Ramp(ctx, w); err != nil {
					return err
				}
				m, err := s.Step(ctx, step(slowRate, z.window)) // the others have no share of it
				if err != nil {
					return err
				}
				addOthers(s, w.Name, m)
			}
			return nil
		}}
}

// addOthers records the p99 of the pairs that are not the trouble.
func addOthers(s *runner.Session, at string, m *runner.Measured) {
	if g := m.Group(bystanders); g != nil && g.Latency.Count() > 0 {
		s.Add(at, bench.Others, runner.Micros(g.Latency.At(99)), 0, m)
	}
}
