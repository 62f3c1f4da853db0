package plan

import (
	"context"
	"fmt"
	"math"
	"time"

	"derpd/loadgen"
)

// reserve is what the search leaves for verification.
func (r *run) reserve() time.Duration {
	return time.Duration(reserveFactor*float64(r.verifyFor())) + 2*drainMax
}

func (r *run) verifyFor() time.Duration {
	return min(max(r.res.Budget/verifyShare, verifyMin), verifyMax)
}

// verify plans a load below the knee, repeats steps near it for their spread, and ends with a
// longer one. If that does not hold it steps down while there is time.
func (r *run) verify(ctx context.Context) {
	p := &r.res.Planned
	knee, of := r.res.Latency, "latency"
	if t := r.res.Throughput; t.Rate < knee.Rate {
		knee, of = t, "throughput"
	}
	if knee.Rate == 0 {
		p.Why = "no rate met the bound: " + r.res.Latency.Why
		return
	}
	p.AtLeast = knee.AtLeast
	p.Why = fmt.Sprintf("%g of the knee of %s", r.res.Safety, of)
	rate, window := r.repeat(ctx, r.res.Safety*knee.Rate), r.verifyFor()
	for ; ; window = max(r.verifyFor()/2, verifyMin) {
		p.Rate = math.Floor(rate)
		row := r.longer(ctx, p.Rate, window)
		r.promise()
		if row == nil {
			p.Why += "; not verified: "
			if r.over != nil {
				p.Why += "the plan was stopped"
			} else {
				p.Why += "there was no time left"
			}
			return
		}
		held := row.Within
		if held {
			p.Verified, p.VerifiedFor = true, row.Window
		}
		if held && p.P99 <= r.res.Goal.P99 {
			return
		}
		if !r.stepsDown(p, row, held) {
			return
		}
		rate *= downFactor
		p.Verified, p.VerifiedFor = false, 0
	}
}

// repeat runs short steps near a load for their spread, and steps down at once if two of three
// fail.
func (r *run) repeat(ctx context.Context, rate float64) float64 {
	end := r.ends.Add(-cost(step(rate, r.verifyFor())))
	for rate > rateMin {
		o, settled := r.decide(ctx, r.latency(), Repeat, math.Floor(rate), end)
		if !settled || o == passes {
			break
		}
		r.res.Planned.Why += fmt.Sprintf("; stepped down from %s", r.cite(math.Floor(rate)))
		rate *= downFactor
	}
	r.probe(ctx, Repeat, math.Floor(downFactor*rate), r.window, end)
	return rate
}

// longer runs the verification, as long as it shall be or the time allows.
func (r *run) longer(ctx context.Context, rate float64, window time.Duration) *Row {
	spare := cost(step(rate, verifyMax)) - verifyMax
	window = min(window, (r.left() - spare).Truncate(100*time.Millisecond))
	if window < verifyMin {
		return nil
	}
	return r.probe(ctx, Verify, rate, window, r.ends)
}

// stepsDown tells whether a lower load can be verified in the time left, and says why it should.
func (r *run) stepsDown(p *Planned, row *Row, held bool) bool {
	room := r.left() >= cost(step(row.Rate, verifyMin)) && r.over == nil
	switch {
	case held && !room:
		r.note("a p99 of %v is not sure at %.0f packets/s: %v were seen, but equal steps differ so "+
			"much that %v can be promised: plan with more time, or on a quieter machine",
			r.res.Goal.P99, p.Rate, p.Seen.Round(time.Microsecond), p.P99.Round(time.Microsecond))
	case !room:
		p.Why += fmt.Sprintf("; %.0f/s did not hold for %v (delivered %.2f %%, p99 %v), and "+
			"there was no time to verify less", row.Rate, row.Window.Round(time.Millisecond),
			100*row.share(), row.P99.Round(time.Microsecond))
		// Nobody has seen the next lower one hold, but planning with this one would be wrong.
		p.Rate, p.P99 = math.Floor(p.Rate*downFactor), 0
	default:
		p.Why += fmt.Sprintf("; stepped down from %.0f/s, where a step of %v had p99 %v, "+
			"%.2f %% delivered", row.Rate, row.Window.Round(time.Millisecond),
			row.P99.Round(time.Microsecond), 100*row.share())
	}
	return room
}

// promise sets the p99 of the planned load: of all steps near it together, with a margin.
func (r *run) promise() {
	p := &r.res.Planned
	all := loadgen.NewHist()
	p.Repeats, p.Seen = 0, 0
	for _, row := range r.at(nearMin*p.Rate, p.Rate) {
		if row.Lost != "" {
			continue
		}
		p.Repeats++
		all.Merge(row.latency)
		if row.Purpose == Verify {
			p.Seen = max(p.Seen, row.P99)
		}
	}
	p.Seen = max(p.Seen, all.At(99))
	p.Spread = r.spread()
	p.P99 = time.Duration(float64(p.Seen) * math.Exp(marginSigmas*p.Spread)).Round(time.Microsecond)
}

// spread is the standard deviation of ln(p99) over steps of equal rates, up to the knee.
func (r *run) spread() float64 {
	var squares float64
	var free int // degrees of freedom
	for _, rate := range r.rates() {
		if rate > r.res.Latency.Rate {
			break
		}
		var logs []float64
		for _, row := range r.at(rate, rate) {
			if row.Carried && row.P99 > 0 {
				logs = append(logs, math.Log(row.P99.Seconds()))
			}
		}
		var mean float64
		for _, x := range logs {
			mean += x / float64(len(logs))
		}
		for _, x := range logs {
			squares += (x - mean) * (x - mean)
		}
		free += max(len(logs)-1, 0)
	}
	if free == 0 {
		return spreadGuess
	}
	return min(max(math.Sqrt(squares/float64(free)), spreadMin), spreadMax)
}
