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
			s.AddFound(at, bench.CPU, all, load, best)
			s.AddFound(at, bench.CPUUser, user, load, best)
			s.AddFound(at, bench.CPUSystem, system, load, best)
			s.AddFound(at, bench.GeneratorIdle, best.Slack.Idle, load, best)
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
func overload(z size, plain bool, frames int) runner.Scenario {
	suffix, text := way(plain)
	return runner.Scenario{Name: fmt.Sprintf("overload-%s-%d", suffix, frames), Rounds: z.few,
		Plain: plain,
		Text: fmt.Sprintf("%d pairs, packets of %d bytes, %d a write, over %s, the relay held to "+
			"%.0f %% of a processor: what is delivered at the best rate of a search (knee), at that rate "+
			"for longer (1x), and when 2, 5 and 10 times of what that was is due; a sender drops what TCP "+
			"has held back for %v", bulkPairs, bulkBytes, frames, text, 100*throttledShare, patience),
		Play: func(ctx context.Context, s *runner.Session) error {
			pairs := bulkPairsOf(frames, 1)
			pairs.Groups[0].Patience = patience
			if _, err := s.Ramp(ctx, pairs); err != nil {
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
			s.Add("knee", bench.Delivered, best.PerSecond(), 0, best)
			return overloads(ctx, s, best.StepResult.Step.Rate, z.window)
		}}
}

// overloads are steps at the rate of the knee and at multiples of what was delivered then. The best
// of many short rungs was a lucky one, so that no step as long as these delivers as much.
func overloads(ctx context.Context, s *runner.Session, knee float64, window time.Duration) error {
	m, err := s.Step(ctx, step(knee, window))
	if err != nil {
		return err
	}
	peak := m.PerSecond()
	if peak == 0 {
		return fmt.Errorf("it delivered nothing for %v at %.0f packets a second", window, knee)
	}
	addOverload(s, 1, m)
	for _, times := range []float64{2, 5, 10} {
		if m, err = s.Step(ctx, step(times*peak, window)); err != nil {
			return err
		}
		addOverload(s, times, m)
		s.Add(multiple(times), bench.Goodput, m.PerSecond()/peak, 0, m)
	}
	return nil
}

// multiple names a load that is one of the knee: 2x.
func multiple(times float64) string { return fmt.Sprintf("%.0fx", times) }

func addOverload(s *runner.Session, times float64, m *runner.Measured) {
	at := multiple(times)
	s.Add(at, bench.Delivered, m.PerSecond(), 0, m)
	all, _, _ := m.CPUMicros()
	s.Add(at, bench.CPU, all, 0, m)
	if h := m.Latency(); h.Count() > 0 {
		s.Add(at, bench.P99, runner.Micros(h.At(99)), 0, m)
	}
}

// crowd is many senders to one receiver, and one that floods: are others hurt? That the same
// senders have a receiver that takes all (open) tells what they cost others by being there from
// what choking costs them.
func crowd(z size) runner.Scenario {
	return runner.Scenario{Name: "crowd-tls", Rounds: z.rounds,
		Text: fmt.Sprintf("10 pairs with 1,000 packets a second together, over TLS: alone, beside 20 "+
			"senders with %d packets a second together to one receiver that takes all of them (open) or "+
			"%d KiB (choked), beside 20 at full speed to one that takes all it can (incast), beside one "+
			"sender at full speed, and beside %d packets a second to two receivers of which one reads "+
			"slowly and one not at all", chokedRate, chokedReads>>10, slowRate),
		Play: func(ctx context.Context, s *runner.Session) error {
			open, choked := build("incast", defaults, chokedRate), build("incast", defaults, chokedRate)
			open.Name, choked.Name = "open", "choked"
			choked.Groups[0].Reading = loadgen.Reading{BytesPerSecond: chokedReads}
			incast, flood := build("incast", defaults, 0), build("flood", defaults, 0)
			slow := build("slow-reader", defaults, slowRate)
			calm := loadgen.Workload{Name: "calm", Groups: incast.Groups[1:]}
			for _, of := range []struct {
				loadgen.Workload
				rate float64 // of those that are not the others
				warm time.Duration
			}{{calm, slowRate, warm}, {open, chokedRate, standingWarm}, {choked, chokedRate, standingWarm},
				{incast, slowRate, warm}, {flood, slowRate, warm}, {slow, slowRate, standingWarm}} {
				if _, err := s.Ramp(ctx, of.Workload); err != nil {
					return err
				}
				step := step(of.rate, z.window)
				step.Warm = of.warm
				m, err := s.Step(ctx, step)
				if err != nil {
					return err
				}
				addOthers(s, of.Name, m)
			}
			return nil
		}}
}

// addOthers records the p95 and p99 of the pairs that are not the trouble. Where the machine itself
// stands still for milliseconds a second, that is the p99; the p95 is the relay's. Nothing for them
// is the worst that can come of it.
func addOthers(s *runner.Session, at string, m *runner.Measured) {
	g := m.Group(bystanders)
	if g.Latency.Count() == 0 {
		s.Fail("%s: the pairs that are not the trouble got none of %d packets", at, g.Due)
		return
	}
	s.Add(at, bench.OthersP95, runner.Micros(g.Latency.At(95)), 0, m)
	s.Add(at, bench.Others, runner.Micros(g.Latency.At(99)), 0, m)
}
