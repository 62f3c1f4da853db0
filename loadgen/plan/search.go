package plan

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// outcome is what a step, or several at one rate, say of that rate.
type outcome int

const (
	fails   outcome = iota
	passes          //
	limited         // it failed, but the generator was the limit, so the relay cannot be judged
)

// question is asked of each rate: how a step answers it, and how many equal answers decide.
type question struct {
	why          Purpose
	of           func(*Row) outcome
	passes, fail int
}

// throughput: no luck makes a relay deliver more than it can, so one step that passes decides.
func (r *run) throughput() question {
	return question{Throughput, func(row *Row) outcome {
		switch {
		case row.Lost != "":
			return fails
		case row.Carried: // also if the generator had no more to give
			return passes
		case row.Limited != "":
			return limited
		}
		return fails
	}, 1, r.votes()}
}

// latency: luck goes both ways, so two of three steps decide. Where the generator has hardly a
// moment to spare, it takes little to be late, and what passes now will not the next time.
func (r *run) latency() question {
	return question{Latency, func(row *Row) outcome {
		switch {
		case row.Lost != "":
			return fails
		case row.Within && row.Idle >= spareMin:
			return passes
		case row.Within || row.Limited != "":
			return limited
		}
		return fails
	}, r.votes(), r.votes()}
}

func (r *run) votes() int {
	if r.res.Budget < votesFew {
		return 1
	}
	return 2
}

// ask counts the steps at one rate. Until enough of them agree it is not settled, and leans to the
// majority, or else away from passing. The first steps that failed while others used the machine do
// not count: run again, the rate may pass.
func (r *run) ask(q question, rate float64) (o outcome, settled bool) {
	var count [3]int
	pardons := r.votes()
	for _, row := range r.at(rate, rate) {
		o := q.of(row)
		if n := row.Interference; o != passes && n.Steal+n.Other > disturbedMin && pardons > 0 {
			pardons--
			continue
		}
		count[o]++
	}
	missed := count[fails] + count[limited]
	// One that was the generator's fault is enough doubt not to blame the relay.
	o = fails
	if count[limited] > 0 && count[limited] >= count[fails] {
		o = limited
	}
	switch {
	case count[passes] >= q.passes:
		return passes, true
	case missed >= q.fail:
		return o, true
	case count[passes] > missed:
		return passes, false
	}
	return o, false
}

// decide runs steps at a rate until its outcome is settled; false if there is no time for that.
func (r *run) decide(ctx context.Context, q question, why Purpose, rate float64,
	end time.Time) (outcome, bool) {
	for {
		o, settled := r.ask(q, rate)
		if settled {
			return o, true
		}
		if r.probe(ctx, why, rate, r.window, end) == nil {
			return o, false
		}
	}
}

// search finds the knees: roughly that of throughput, for it bounds the other; that of latency,
// which the plan rests on; then the first more closely, with what time is left.
func (r *run) search(ctx context.Context) {
	end := r.ends.Add(-r.reserve())
	r.grow(ctx, end)
	r.narrow(ctx, r.throughput(), roughRatio, end)
	r.narrow(ctx, r.latency(), kneeRatio, end)
	r.narrow(ctx, r.throughput(), kneeRatio, end)
	r.res.Throughput = r.knee(r.throughput(), "delivered all that was due")
	r.res.Latency = r.knee(r.latency(), fmt.Sprintf("had a p99 within %v", r.res.Goal.P99))
	r.res.Beyond = r.beyond()
}

// grow doubles the rate until the relay does not carry it, or the generator cannot offer it. If the
// first rate is too much for either question, it falls until one is not.
func (r *run) grow(ctx context.Context, end time.Time) {
	rate := r.start()
	for ; rate <= rateMax; rate *= growFactor {
		if o, ok := r.decide(ctx, r.throughput(), Growth, rate, end); !ok || o != passes {
			break
		}
	}
	for _, q := range []question{r.throughput(), r.latency()} {
		rate = r.start()
		for low, _ := r.bracket(q); low == 0 && rate > rateMin; low, _ = r.bracket(q) {
			rate = max(rate/fallFactor, rateMin)
			if _, ok := r.decide(ctx, q, Growth, rate, end); !ok {
				return
			}
		}
	}
}

func (r *run) start() float64 {
	if r.Options.Start > 0 {
		return r.Options.Start
	}
	if g := r.res.Goal.PacketsPerSecond; g > 0 {
		return min(max(math.Round(g/startShare), startMin), startRate)
	}
	return startRate
}

// bracket returns the highest rate that passes so far and the lowest above it that does not; 0 if
// there is none. A single step that passes beyond a rate that has failed for sure was luck.
func (r *run) bracket(q question) (low, high float64) {
	failed := false
	for _, rate := range r.rates() {
		o, settled := r.ask(q, rate)
		switch {
		case o == passes && (settled || !failed):
			low, high = rate, 0
		case high == 0:
			high = rate
		}
		failed = failed || settled && o != passes
	}
	return low, high
}

// rates are those tried, each once, ascending.
func (r *run) rates() (rates []float64) {
	for i := range r.res.Steps {
		rates = append(rates, r.res.Steps[i].Rate)
	}
	slices.Sort(rates)
	return slices.Compact(rates)
}

// narrow halves the bracket of a question until its ends are close and both are settled.
func (r *run) narrow(ctx context.Context, q question, ratio float64, end time.Time) {
	for {
		low, high := r.bracket(q)
		if low == 0 {
			return
		}
		next := math.Sqrt(low * high)
		if next > 1000 {
			next = math.Round(next)
		}
		if _, settled := r.ask(q, low); !settled {
			next = low
		} else if high == 0 {
			return
		} else if high <= ratio*low {
			if _, settled := r.ask(q, high); settled {
				return
			}
			next = high
		}
		if _, ok := r.decide(ctx, q, q.why, next, end); !ok {
			return
		}
	}
}

// knee says where a question's answer turns, and by which measurements.
func (r *run) knee(q question, held string) Knee {
	low, high := r.bracket(q)
	k := Knee{Rate: low, Above: high}
	switch {
	case low == 0 && high == 0:
		k.Why = "no step was run"
		return k
	case low == 0:
		k.Why = fmt.Sprintf("no rate %s; %s", held, r.cite(high))
		return k
	}
	k.Why = fmt.Sprintf("%s %s", r.cite(low), held)
	if _, settled := r.ask(q, low); !settled {
		k.Why += " in most steps that count, and there was no time to be sure"
	}
	o, _ := r.ask(q, high)
	switch {
	case high == 0:
		k.AtLeast = true
		k.Why += "; there was no time for a higher rate"
	case o == limited:
		k.AtLeast = true
		k.Why += fmt.Sprintf("; at %.0f/s the generator was the limit (%s), so this is no "+
			"capacity of the relay", high, r.limit(high))
	default:
		k.Why += "; " + r.cite(high)
	}
	return k
}

// cite tells the steps at a rate: the median p99 and what was delivered.
func (r *run) cite(rate float64) string {
	rows := r.at(rate, rate)
	if len(rows) == 0 {
		return fmt.Sprintf("%.0f/s", rate)
	}
	slices.SortFunc(rows, func(a, b *Row) int { return int(a.P99 - b.P99) })
	m := rows[len(rows)/2]
	return fmt.Sprintf("%.0f/s (%s, delivered %.2f %%, p99 %v)", rate,
		times(len(rows), "step"), 100*m.share(), m.P99.Round(10*time.Microsecond))
}

func (row *Row) share() float64 {
	if row.Due == 0 {
		return 0
	}
	return min(1, row.Delivered/row.Due)
}

// at returns the steps with a rate in a range, both ends included.
func (r *run) at(low, high float64) (rows []*Row) {
	for i := range r.res.Steps {
		if row := &r.res.Steps[i]; row.Rate >= low && row.Rate <= high {
			rows = append(rows, row)
		}
	}
	return rows
}

func (r *run) limit(rate float64) string {
	for _, row := range r.at(rate, rate) {
		if row.Limited != "" {
			return row.Limited
		}
	}
	return ""
}

// beyond looks at the highest rate that the relay, and not the generator, failed to deliver.
func (r *run) beyond() *Beyond {
	var b *Beyond
	for i := range r.res.Steps {
		row := &r.res.Steps[i]
		if row.Carried || row.Limited != "" || row.Rate <= r.res.Throughput.Rate {
			continue
		}
		if b == nil || row.Rate > b.Rate {
			b = &Beyond{Rate: row.Rate, Delivered: row.Delivered}
		}
	}
	if b == nil || r.res.Throughput.Rate == 0 {
		return nil
	}
	switch share := b.Delivered / r.res.Throughput.Rate; {
	case share >= flatMin:
		b.Kind = "flat"
	case share < collapseMax:
		b.Kind = "collapses"
	default:
		b.Kind = "falls"
	}
	return b
}

func times(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
