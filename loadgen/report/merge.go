package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/units"
)

// Merge adds up reports of one run that several machines made together: counts and histograms add
// exactly, so percentiles are those of all packets. The result is judged anew. The error is a
// sentence that says which report does not belong to the others, by its machine, and why.
//
// Each machine reads the drops of the whole relay. Where two of them read the same one, the drops
// are taken once, by the larger count of each reason.
func Merge(reports []*Report) (*Report, error) {
	if len(reports) < 2 {
		return nil, fmt.Errorf("%d report is nothing to merge: give two or more", len(reports))
	}
	if len(reports) > mergedMax {
		return nil, fmt.Errorf("%d reports are more than the %d that can be merged",
			len(reports), mergedMax)
	}
	first := reports[0]
	for i, r := range reports {
		if why := alone(r); why != "" {
			return nil, fmt.Errorf("the report of %s cannot be merged: %s", r.who(i), why)
		}
		for j, other := range reports[:i] {
			if why := apart(other, r); why != "" {
				return nil, fmt.Errorf("the reports of %s and %s cannot be merged: %s",
					other.who(j), r.who(i), why)
			}
		}
	}
	merged := &Report{Format: Format, Kind: Run, Time: first.Time, Command: first.Command,
		Version: first.Version, Host: first.Host, Machine: first.Machine, Job: first.Job}
	merged.Job.Targets = nil
	for i, r := range reports {
		if r.Time.Before(merged.Time) {
			merged.Time = r.Time
		}
		merged.Merged = append(merged.Merged, r.origins()...)
		merged.Partial = merged.Partial || r.Partial
		for _, incident := range r.Incidents {
			merged.Incidents = append(merged.Incidents, r.who(i)+": "+incident)
		}
		for _, t := range r.Job.Targets {
			if !slices.Contains(merged.Job.Targets, t) {
				merged.Job.Targets = append(merged.Job.Targets, t)
			}
		}
	}
	merged.Ramp = rampOnce(reports)
	for i := range first.Steps {
		merged.Steps = append(merged.Steps, mergeStep(reports, i))
	}
	Judge(merged)
	return merged, nil
}

// who names the i-th report in a sentence.
func (r *Report) who(i int) string {
	if r.Host == "" {
		return fmt.Sprintf("machine %d", i+1)
	}
	return fmt.Sprintf("machine %d (%s)", i+1, r.Host)
}

// origins are the runs in a report: its own, or those merged before.
func (r *Report) origins() []Origin {
	if len(r.Merged) > 0 {
		return r.Merged
	}
	return []Origin{{r.Host, r.Machine, r.Time, r.Command, r.Version, r.Job.Options.Seed,
		r.Job.Options.Part}}
}

// alone tells what keeps a report from being merged with any other.
func alone(r *Report) string {
	switch {
	case r.Kind != Run:
		return "it is of a " + string(r.Kind) + "; only runs add up"
	case r.Error != "":
		return "it was not made: " + r.Error
	case !r.measured():
		return "nothing was measured"
	}
	return ""
}

// apart tells why two reports are not of one run.
func apart(a, b *Report) string {
	for _, o := range a.origins() {
		if slices.ContainsFunc(b.origins(), o.same) {
			return "they are the same run"
		}
	}
	for _, o := range a.origins() {
		if a.Job.Workload.Clients() > 0 && slices.ContainsFunc(b.origins(), o.sameKeys) {
			return fmt.Sprintf("both have the seed %d, so that their clients had the same keys and "+
				"pushed each other out; give no -seed, or each machine one of its own", o.Seed)
		}
	}
	if !equal(a.Job.Workload, b.Job.Workload) {
		return fmt.Sprintf("their workloads differ, %q and %q, or in detail; give each machine the "+
			"same options, but for -seed", a.Job.Workload.Name, b.Job.Workload.Name)
	}
	if len(a.Steps) != len(b.Steps) {
		return fmt.Sprintf("they have %d and %d steps", len(a.Steps), len(b.Steps))
	}
	for i, s := range a.Steps {
		if why := stepsApart(s, b.Steps[i], len(a.origins()), len(b.origins())); why != "" {
			return fmt.Sprintf("step %d: %s", i+1, why)
		}
	}
	return ""
}

// same tells whether two runs are one.
func (o Origin) same(p Origin) bool {
	return o.Host == p.Host && o.Time.Equal(p.Time) && o.Command == p.Command
}

// sameKeys tells whether the clients of two runs had the same keys.
func (o Origin) sameKeys(p Origin) bool {
	return o.Seed != 0 && o.Seed == p.Seed && o.Part == p.Part
}

// stepsApart compares two steps of so many machines each.
func stepsApart(a, b *loadgen.StepResult, inA, inB int) string {
	one, other := a.Step, b.Step
	one.Rate, other.Rate = 0, 0
	each, eachOther := a.Step.Rate/float64(inA), b.Step.Rate/float64(inB)
	if one != other || math.Abs(each-eachOther) > 1e-9*each {
		return fmt.Sprintf("%s for %v and %s for %v are different steps",
			rateName(each), a.Step.Window, rateName(eachOther), b.Step.Window)
	}
	shared := overlap(a, b)
	if longest := max(a.Window, b.Window); float64(shared) < overlapMin*float64(longest) {
		return fmt.Sprintf("of %v they ran %v at the same time, so their rates do not add up; give all "+
			"machines the same -start-at, late enough for all clients to be in, and keep their clocks "+
			"in step", longest.Round(time.Millisecond), shared.Round(time.Millisecond))
	}
	if len(a.Groups) != len(b.Groups) {
		return fmt.Sprintf("they have %d and %d groups", len(a.Groups), len(b.Groups))
	}
	for i := range a.Groups {
		if a.Groups[i].Name != b.Groups[i].Name {
			return fmt.Sprintf("group %d is %q and %q", i+1, a.Groups[i].Name, b.Groups[i].Name)
		}
	}
	return ""
}

// overlap is how long both steps ran; where a report does not say when, they ran together.
func overlap(a, b *loadgen.StepResult) time.Duration {
	later := b.Began.Sub(a.Began)
	if a.Began.IsZero() || b.Began.IsZero() {
		later = 0
	}
	return max(0, min(a.Window, later+b.Window)-max(0, later))
}

// rateName tells a rate in a few words.
func rateName(rate float64) string {
	if rate == 0 {
		return "all that TCP takes"
	}
	return units.Whole(rate) + " packets/s"
}

// equal compares by what is kept.
func equal(a, b any) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errors.Join(errA, errB) == nil && bytes.Equal(x, y)
}

// mergeStep adds up the i-th step of all, with the drops of each relay, and what it used, counted
// once.
func mergeStep(reports []*Report, i int) *loadgen.StepResult {
	var steps []*loadgen.StepResult
	used := uses{}
	read := map[string]map[string]uint64{} // drops by the relays they were read from
	for _, r := range reports {
		step := *r.Steps[i]
		relays := r.varz()
		if before, again := read[relays]; again && relays != "" {
			step.Books.Dropped = above(before, step.Books.Dropped)
		}
		read[relays] = sum(read[relays], step.Books.Dropped)
		step.Relays = used.once(r, step.Relays)
		steps = append(steps, &step)
	}
	merged := loadgen.MergeSteps(steps)
	if b := &merged.Books; b.DroppedKnown && b.Exposed > 0 {
		b.Settle() // each part took the drops of all out of its own
	}
	return merged
}

// varz names the relays whose drops a report has; empty: none.
func (r *Report) varz() string {
	var list []string
	for _, t := range r.Job.Targets {
		if t.Varz != "" && !slices.Contains(list, t.Varz) {
			list = append(list, t.Varz)
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// above is what counts has more than before, by reason, and sum adds two of them.
func above(before, counts map[string]uint64) map[string]uint64 {
	more := map[string]uint64{}
	for reason, n := range counts {
		if n > before[reason] {
			more[reason] = n - before[reason]
		}
	}
	return more
}

func sum(a, b map[string]uint64) map[string]uint64 {
	total := map[string]uint64{}
	for reason, n := range a {
		total[reason] += n
	}
	for reason, n := range b {
		total[reason] += n
	}
	return total
}
