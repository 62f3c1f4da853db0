package report

import (
	"fmt"
	"slices"
	"strings"

	"derpd/loadgen"
	"derpd/loadgen/units"
)

// Judge sets Failed, Limited and Partial from what was measured. Judging again gives the same.
//
// A run fails by its Incidents, if a client that should be in is not, and in each step by packets
// that are lost without explanation, by wrong ones, by books that do not balance, by a window in
// which nothing was due though some should talk, by STUN requests without an answer, by clients
// that do not answer at the end or did not come back, and by connections that the relay ended. An
// interrupted step is judged by its wrong packets and by clients that failed on this machine only:
// its drain and its last question were cut short.
func Judge(r *Report) {
	r.Failed = slices.Clone(r.Incidents)
	r.Limited = ""
	if r.Ramp != nil {
		r.Partial = r.Partial || r.Ramp.Partial
		r.judgeRamp()
	}
	for i, s := range r.Steps {
		r.Partial = r.Partial || s.Partial
		failed := judgeStep(s, r.expectsClosing())
		if why := r.judgeReturn(s); why != "" {
			failed = append(failed, why)
		}
		for _, why := range failed {
			r.Failed = append(r.Failed, inStep(i, len(r.Steps))+why)
		}
		if s.Slack.Limited != "" && r.Limited == "" {
			r.Limited = inStep(i, len(r.Steps)) + s.Slack.Limited
		}
	}
}

func (r *Report) judgeRamp() {
	switch ramp := r.Ramp; {
	case ramp.Partial:
	case ramp.Clients == 0 && ramp.Wanted > 0:
		r.Failed = append(r.Failed, fmt.Sprintf("none of %s clients could log in: %s",
			units.Count(ramp.Wanted), mostly(ramp.Failures)))
	case ramp.Clients < ramp.Wanted:
		r.Failed = append(r.Failed, fmt.Sprintf("%s of %s clients could not log in: %s",
			units.Count(ramp.Wanted-ramp.Clients), units.Count(ramp.Wanted),
			mostly(ramp.Failures)))
	}
}

// mostly tells the most frequent class of failures.
func mostly(f loadgen.Failures) string {
	var most loadgen.Failure
	for class, c := range f {
		if most == "" || c.Count > f[most].Count || c.Count == f[most].Count && class < most {
			most = class
		}
	}
	if most == "" {
		return "no reason was counted"
	}
	if f[most].Example == "" {
		return string(most)
	}
	return fmt.Sprintf("%s, such as: %s", most, f[most].Example)
}

// expectsClosing tells whether the relay may end connections of this workload by its own rules: a
// client that does not read is cut off sooner or later, and storms and churn are about just that.
func (r *Report) expectsClosing() bool {
	w := &r.Job.Workload
	return w.Churn != nil || w.Cut != nil ||
		slices.ContainsFunc(w.Groups, func(g loadgen.Group) bool {
			return g.Reading != loadgen.Reading{}
		})
}

// inStep names the i-th of so many steps, if there is more than one.
func inStep(i, of int) string {
	if of < 2 {
		return ""
	}
	return fmt.Sprintf("step %d: ", i+1)
}

func judgeStep(s *loadgen.StepResult, mayClose bool) (failed []string) {
	fail := func(format string, args ...any) {
		failed = append(failed, fmt.Sprintf(format, args...))
	}
	if s.Wrong.Any() {
		fail("packets were delivered wrong: %s", wrongs(s.Wrong))
	}
	if s.STUN != nil && s.STUN.Wrong > 0 {
		fail("%s STUN answers had another address or transaction", units.Count(s.STUN.Wrong))
	}
	if s.Partial {
		// A process of the generator that has died is no interruption.
		if c := s.Failures[loadgen.FailLocal]; c != nil && c.Count > 0 {
			fail("%s clients failed on this machine: %s", units.Count(c.Count), c.Example)
		}
		return failed
	}
	if why := judgeBooks(&s.Books); why != "" {
		fail("%s", why)
	}
	if len(s.Groups) > 0 && !anyDue(s) {
		fail("no packet was due in the window of %v, which shows nothing: take a longer window (-for), "+
			"more packets (-rate) or another -seed", units.Time(s.Window))
	}
	if why := judgeSTUN(s.STUN); why != "" {
		fail("%s", why)
	}
	if s.Asked != s.Answered {
		fail("%s of %s clients did not answer at the end",
			units.Count(s.Asked-s.Answered), units.Count(s.Asked))
	}
	for _, class := range []loadgen.Failure{loadgen.FailReset, loadgen.FailClosed,
		loadgen.FailProtocol} {
		if c := s.Failures[class]; c != nil && c.Count > 0 &&
			(!mayClose || class == loadgen.FailProtocol) {
			fail("%s connections of clients that were logged in ended, %s: %s",
				units.Count(c.Count), class, c.Example)
		}
	}
	return failed
}

// judgeReturn tells whether clients that are cut off, or come and go, are in again at the end.
func (r *Report) judgeReturn(s *loadgen.StepResult) string {
	w := &r.Job.Workload
	switch {
	case s.Partial:
	case w.Cut != nil && s.Window <= w.Cut.After:
		return fmt.Sprintf("the window of %s ended before the cut, which comes after %s: take a longer "+
			"one (-for)", units.Time(s.Window), units.Time(w.Cut.After))
	case w.Cut != nil && s.Readmit == 0:
		return fmt.Sprintf("not all clients came back after the cut: %s are logged in at the end%s",
			units.Count(s.Clients), because(s.Failures))
	case w.Churn != nil && r.Ramp != nil &&
		float64(s.Clients) < churnBackMin*float64(r.Ramp.Clients)-w.Churn.PerSecond:
		return fmt.Sprintf("clients that left were not replaced: %s of %s are logged in at the end%s",
			units.Count(s.Clients), units.Count(r.Ramp.Clients), because(s.Failures))
	}
	return ""
}

// because tells the most frequent class of failures, if there are any.
func because(f loadgen.Failures) string {
	if f.Sum() == 0 {
		return ""
	}
	return "; " + mostly(f)
}

func anyDue(s *loadgen.StepResult) bool {
	return slices.ContainsFunc(s.Groups, func(g loadgen.GroupResult) bool { return g.Due > 0 })
}

// judgeBooks tells in what way the books do not add up, if so.
func judgeBooks(b *loadgen.Books) string {
	if missing := unbalanced(b); missing != 0 {
		return fmt.Sprintf("the generator's books do not balance: %s packets were due and neither "+
			"sent nor held back", units.Count(missing))
	}
	switch lost := b.Unexplained(); {
	case lost == 0:
		return ""
	case !b.DroppedKnown:
		return fmt.Sprintf("%s packets were lost, which cannot be explained: the relay's metrics "+
			"could not be read", units.Count(lost))
	case lost < 0:
		return fmt.Sprintf("the relay counted %s more drops than packets were lost: does somebody "+
			"else send through it?", units.Count(-lost))
	default:
		return fmt.Sprintf("%s packets were lost that nobody accounts for", units.Count(lost))
	}
}

// judgeSTUN tells what is wrong with the answers to STUN requests, if any were to be sent. Nobody
// counts what UDP loses, so the share of it decides.
func judgeSTUN(u *loadgen.STUNResult) string {
	switch {
	case u == nil:
		return ""
	case u.Lost == u.Asked:
		return fmt.Sprintf("none of %s STUN requests was answered: does a STUN server listen at "+
			"that address and port?", units.Count(u.Asked))
	case float64(u.Lost) > stunLostMax*float64(u.Asked):
		return fmt.Sprintf("%s, more than %s", unanswered(u), units.Percent(stunLostMax))
	}
	return ""
}

// unanswered tells how many STUN requests had no answer.
func unanswered(u *loadgen.STUNResult) string {
	return fmt.Sprintf("%s of %s STUN requests (%s) were not answered", units.Count(u.Lost),
		units.Count(u.Asked), units.Percent(float64(u.Lost)/float64(u.Asked)))
}

// unbalanced is what is missing, in packets, between due and sent.
func unbalanced(b *loadgen.Books) int64 {
	return int64(b.Due) - int64(b.NotAccepted) - int64(b.Sent)
}

func wrongs(w loadgen.Wrong) string {
	var list []string
	for _, kind := range []struct {
		n    uint64
		what string
	}{
		{w.Key, "to or from a wrong key"}, {w.Order, "out of order"},
		{w.Content, "altered"}, {w.Twice, "twice"},
	} {
		if kind.n > 0 {
			list = append(list, units.Count(kind.n)+" "+kind.what)
		}
	}
	return strings.Join(list, ", ")
}
