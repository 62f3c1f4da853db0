package compare

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/perf/benchmath"

	"derpd/bench"
)

// Options say what may be compared.
type Options struct {
	// Force compares what was measured on different machines or with different sizes.
	Force bool
	// Counted leaves out all but counted figures, which do not depend on the machine.
	Counted bool
	// Most are what figures may not exceed, whatever they were before, and all that is asked of them.
	Most []Most
}

// Most is the largest that a figure may be in the best of its rounds: others of the machine make
// single rounds worse, never better.
type Most struct {
	Peer, At, Measure string
	Value             float64
}

// ParseMost reads PEER/LOAD/MEASURE=VALUE.
func ParseMost(s string) (m Most, err error) {
	name, value, _ := strings.Cut(s, "=")
	parts := strings.Split(name, "/")
	if len(parts) != 3 {
		return m, fmt.Errorf("%q is not PEER/LOAD/MEASURE=VALUE", s)
	}
	m = Most{Peer: parts[0], At: parts[1], Measure: parts[2]}
	if _, ok := bench.Find(m.Measure); !ok {
		return m, fmt.Errorf("%q: there is no measure %q", s, m.Measure)
	}
	if m.Value, err = strconv.ParseFloat(value, 64); err != nil || !(m.Value >= 0) {
		return m, fmt.Errorf("%q: %q is no number of at least 0", s, value)
	}
	return m, nil
}

// String is what ParseMost reads.
func (m Most) String() string {
	return fmt.Sprintf("%s/%s/%s=%v", m.Peer, m.At, m.Measure, m.Value)
}

// of tells whether it is a limit of a peer's figure.
func (m Most) of(peer string, f *bench.Figure) bool {
	return m.Peer == peer && m.At == f.At && m.Measure == f.Measure
}

// in tells whether a report has such a figure.
func (m Most) in(r *bench.Report) bool {
	return slices.ContainsFunc(r.Results, func(res bench.Result) bool {
		return m.Peer == res.Peer && res.Figure(m.At, m.Measure) != nil
	})
}

// exceeds says which limit a figure exceeds; empty: none. had tells whether it has one.
func (o Options) exceeds(peer string, f *bench.Figure) (why string, had bool) {
	for _, m := range o.Most {
		if m.of(peer, f) {
			had = true
			if best := slices.Min(f.Samples); best > m.Value {
				why = fmt.Sprintf("%.3g in the best round, and %v is the most that is allowed", best,
					m.Value)
			}
		}
	}
	return why, had
}

// Verdict is what became of a figure.
type Verdict string

// The verdicts.
const (
	Same    Verdict = "unchanged"
	Better  Verdict = "better"
	Worse   Verdict = "worse"
	Shown   Verdict = "not judged" // a detail of another figure, or the reference's
	Unequal Verdict = "not comparable"
)

// Change is one figure in both reports.
type Change struct {
	Scenario, Peer, At string
	Measure            *bench.Measure
	Old, New           bench.Summary
	// P is the probability of such samples if nothing changed.
	P float64
	// Ratio is the new median as a multiple of the old one; AgainstReference is the same of the
	// ratios to the reference peer. NaN: not known.
	Ratio, AgainstReference float64
	Verdict                 Verdict
	Why                     string // for Unequal, and for Worse without figures
}

// Result is a comparison.
type Result struct {
	Old, New *bench.Report
	Changes  []Change
	Failed   []string // what ended with an error, and did not before
	Notes    []string // what could not be compared

	elsewhere int // figures at loads that differ, and could have been one
}

// Regressed tells whether anything got worse or failed.
func (r *Result) Regressed() bool { return len(r.Failed)+len(r.Worse()) > 0 }

// Worse are the figures that are.
func (r *Result) Worse() []Change { return r.with(Worse) }

func (r *Result) with(v Verdict) (list []Change) {
	for _, c := range r.Changes {
		if c.Verdict == v {
			list = append(list, c)
		}
	}
	return list
}

// Reports compares two reports. The error says why they cannot be.
func Reports(old, new *bench.Report, o Options) (*Result, error) {
	r := &Result{Old: old, New: new}
	if differ := differences(old, new, o); len(differ) > 0 {
		if !o.Force {
			return nil, errors.New("these reports cannot be compared: " +
				strings.Join(differ, "; ") + " (-force compares them anyway)")
		}
		r.Notes = append(r.Notes, differ...)
	}
	if new.Partial {
		r.Notes = append(r.Notes, "the new run was interrupted: what it had not measured by then counts "+
			"as failed")
	}
	for _, note := range new.Notes {
		r.Notes = append(r.Notes, "not compared: "+note)
	}
	r.failures()
	for i := range old.Results {
		was := &old.Results[i]
		is := new.Result(was.Scenario, was.Peer)
		if is == nil {
			r.Notes = append(r.Notes, fmt.Sprintf("%s in %s is in the old report only", was.Peer,
				was.Scenario))
			continue
		}
		for k := range was.Figures {
			r.figure(was, is, &was.Figures[k], o)
		}
	}
	if r.elsewhere > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d figures are not compared, for they are of other "+
			"loads: bench run -like OLD takes the old report's", r.elsewhere))
	}
	if err := r.limits(o); err != nil {
		return nil, err
	}
	if len(r.Changes)+len(r.Failed) == 0 {
		return nil, errors.New("these reports have no figure in common")
	}
	return r, nil
}

// failures are the new report's errors. A peer that had failed before is no regression, but nor is
// it compared.
func (r *Result) failures() {
	for i := range r.New.Results {
		is := &r.New.Results[i]
		if is.Error == "" {
			continue
		}
		why := fmt.Sprintf("%s in %s: %s", is.Peer, is.Scenario, firstLine(is.Error))
		if was := r.Old.Result(is.Scenario, is.Peer); was != nil && was.Error != "" {
			r.Notes = append(r.Notes, "failed in both: "+why)
		} else {
			r.Failed = append(r.Failed, why)
		}
	}
}

// limits holds figures that only the new report has to the most they may be. The error names a
// limit that holds nothing, which would pass whatever the relays do; unless the new report says
// why: the machine lacks what measures it, or the peer has failed where the old report has it.
func (r *Result) limits(o Options) error {
	for _, m := range o.Most {
		if !m.in(r.New) && !(m.in(r.Old) && r.New.Lacks(m.Peer)) && !r.failed(m) {
			return fmt.Errorf("-most %v is of no figure of the new report: name a peer, a load and a "+
				"measure as bench report shows them", m)
		}
	}
	for i := range r.New.Results {
		is := &r.New.Results[i]
		for k := range is.Figures {
			f := &is.Figures[k]
			if r.Old.Result(is.Scenario, is.Peer).Figure(f.At, f.Measure) != nil {
				continue
			}
			if above, limited := o.exceeds(is.Peer, f); limited {
				m, _ := bench.Find(f.Measure)
				c := Change{Scenario: is.Scenario, Peer: is.Peer, At: f.At, Measure: m,
					New: f.Summary(), P: 1, Ratio: math.NaN(), AgainstReference: math.NaN(),
					Verdict: Same}
				if above != "" {
					c.Verdict, c.Why = Worse, above
				}
				r.Changes = append(r.Changes, c)
			}
		}
	}
	return nil
}

// failed tells whether the peer of a limit has an error in the new report where the old one has the
// figure, which is worse then.
func (r *Result) failed(m Most) bool {
	return slices.ContainsFunc(r.Old.Results, func(was bench.Result) bool {
		is := r.New.Result(was.Scenario, was.Peer)
		return was.Peer == m.Peer && was.Figure(m.At, m.Measure) != nil && is != nil && is.Error != ""
	})
}

// differences say why figures of two reports differ whatever the relays do.
func differences(old, new *bench.Report, o Options) (list []string) {
	if old.Scale != new.Scale {
		list = append(list, fmt.Sprintf("they are of the scales %q and %q, which have other sizes",
			old.Scale, new.Scale))
	}
	if o.Counted {
		return list
	}
	if a, b := old.Machine.Fingerprint, new.Machine.Fingerprint; a != b {
		list = append(list, fmt.Sprintf("they were made on different machines, %s and %s", a, b))
	}
	if (old.CPU < 0) != (new.CPU < 0) {
		list = append(list, "in one of them the relay had a processor for itself")
	}
	return list
}

// figure compares one, and notes the change. A limit holds at whatever load.
func (r *Result) figure(was, is *bench.Result, f *bench.Figure, o Options) {
	m, ok := bench.Find(f.Measure)
	_, limited := o.exceeds(was.Peer, f)
	if !ok || o.Counted && m.Class != bench.Counted && !limited {
		return
	}
	c := Change{Scenario: was.Scenario, Peer: was.Peer, At: f.At, Measure: m, Old: f.Summary(),
		P: 1, Ratio: math.NaN(), AgainstReference: math.NaN()}
	now := is.Figure(f.At, f.Measure)
	limit, judged := Thresholds[m.Class]
	switch {
	case now == nil && is.Error != "":
		c.Verdict, c.Why = Worse, "no figure any more: "+firstLine(is.Error)
	case now == nil:
		c.Verdict, c.Why = Unequal, "the new report does not have it"
	case !limited && !alike(f.Load, now.Load) && !foundAlike(f, now):
		c.Verdict, c.Why = Unequal, fmt.Sprintf("it was measured at %.0f and now at %.0f packets a "+
			"second", f.Load, now.Load)
		if !f.Found && !now.Found {
			c.Why += ": see bench run -like"
			r.elsewhere++
		}
		c.New = now.Summary()
	default:
		c.New = now.Summary()
		c.Ratio = c.New.Median / c.Old.Median
		c.P = benchmath.AssumeNothing.Compare(bench.Sample(f.Samples), bench.Sample(now.Samples)).P
		if usesReference(m.Class) {
			c.AgainstReference = r.againstReference(was, is, f, now)
		}
		c.Verdict = Shown
		switch above, _ := o.exceeds(was.Peer, now); {
		case above != "":
			c.Verdict, c.Why = Worse, above
		case limited:
			c.Verdict = Same // how far below is the machine's affair
		case judged && !r.yardstick(was.Peer):
			c.Verdict = c.judge(f.Samples, now.Samples, limit, r.steadyReference(was, is, f, limit))
		}
	}
	r.Changes = append(r.Changes, c)
}

// alike tells whether two loads are one. A latency means nothing beside that of another load, and
// the steps of rounded knees are 18 to 25 % (bench/runner), so that near is not enough.
func alike(a, b float64) bool { return math.Abs(a-b) <= loadRounding*max(a, b) }

// foundAlike tells whether two figures were measured at loads that were searched for and are near
// each other, either way round. Reports of before Figure.Found do not say that theirs were.
func foundAlike(a, b *bench.Figure) bool {
	least, most := min(a.Load, b.Load), max(a.Load, b.Load)
	return (a.Found || b.Found) && least > 0 && most < foundApart*least
}

// firstLine leaves out what a relay logged.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// usesReference tells whether figures of a class move with the machine.
func usesReference(c bench.Class) bool {
	return c != bench.Counted && c != bench.Memory && c != bench.Loss
}

// sameReference tells whether both reports have one build of the reference.
func (r *Result) sameReference() bool {
	a, b := r.Old.Peer(r.Old.Reference), r.New.Peer(r.New.Reference)
	return a != nil && b != nil && a.Name == b.Name && a.Digest == b.Digest && a.Digest != ""
}

// yardstick tells whether a peer is only what others are measured by: one build in both reports. If
// its figures move, so did the machine, or it is a relay whose figures do: derper delivers 2,500
// packets a second at full speed in one run and 20,000 in the next.
func (r *Result) yardstick(peer string) bool {
	return peer == r.Old.Reference && len(r.Old.Peers) > 1 && r.sameReference()
}

// againstReference is how far the ratio to the reference moved; NaN if the reports do not have the
// same reference, or the figure is its own.
func (r *Result) againstReference(was, is *bench.Result, f, now *bench.Figure) float64 {
	name := r.Old.Reference
	if !r.sameReference() || was.Peer == name {
		return math.NaN()
	}
	then := bench.Ratio(f, r.Old.Result(was.Scenario, name).Figure(f.At, f.Measure))
	later := bench.Ratio(now, r.New.Result(is.Scenario, name).Figure(f.At, f.Measure))
	if !then.Known() || !later.Known() || then.Median == 0 {
		return math.NaN()
	}
	return later.Median / then.Median
}

// steadyReference tells whether the reference can have a say in what has changed. A figure of its
// own whose rounds are far apart tells of itself: derper at full speed delivers 2,500 packets a
// second in one round and 65,000 in the next.
func (r *Result) steadyReference(was, is *bench.Result, f *bench.Figure, limit Threshold) bool {
	name := r.Old.Reference
	for _, its := range []*bench.Figure{r.Old.Result(was.Scenario, name).Figure(f.At, f.Measure),
		r.New.Result(is.Scenario, name).Figure(f.At, f.Measure)} {
		if its == nil || len(its.Samples) == 0 {
			return false
		}
		least, most := slices.Min(its.Samples), slices.Max(its.Samples)
		if most > least*math.Pow(1+limit.Relative, steadyPower) {
			return false
		}
	}
	return true
}

// judge decides on a figure that both reports have. By reference one that only moved as the
// reference did is the same.
func (c *Change) judge(old, new []float64, limit Threshold, byReference bool) Verdict {
	limit = limit.of(min(len(old), len(new)))
	up := moved(c.Ratio, limit.Relative)
	if c.Old.Median == 0 && c.New.Median != 0 {
		up = 1
	}
	if up == 0 || math.Abs(c.New.Median-c.Old.Median) <= limit.Absolute || !c.sure(old, new) {
		return Same
	}
	if byReference && !math.IsNaN(c.AgainstReference) &&
		moved(c.AgainstReference, limit.Relative) != up {
		return Same
	}
	if (up > 0) == c.Measure.Higher {
		return Better
	}
	return Worse
}

// moved tells whether a ratio is up (1) or down (-1) by more than a threshold: half as much is as
// far as twice as much.
func moved(ratio, relative float64) int {
	switch {
	case ratio > 1+relative:
		return 1
	case ratio < 1/(1+relative):
		return -1
	}
	return 0
}

const (
	alpha = 0.05
	// samplesMin of each side are needed for a p below alpha.
	samplesMin = 4
)

// sure tells whether samples differ by more than chance.
func (c *Change) sure(old, new []float64) bool {
	if min(len(old), len(new)) >= samplesMin {
		return c.P < alpha
	}
	return slices.Max(old) < slices.Min(new) || slices.Max(new) < slices.Min(old)
}
