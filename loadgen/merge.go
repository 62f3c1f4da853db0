package loadgen

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// MergeRamp joins what several fleets or machines reported of logging in at the same time. Counts
// and histograms add up exactly, Took is the longest, and the result is partial if one of them is.
// The parts stay as they are.
func MergeRamp(parts []*RampResult) *RampResult {
	sum := &RampResult{}
	var why []string
	for _, p := range parts {
		sum.Clients += p.Clients
		sum.Wanted += p.Wanted
		sum.Took = max(sum.Took, p.Took)
		sum.Failures.Merge(p.Failures)
		mergeHist(&sum.Login, p.Login)
		sum.Relays = append(sum.Relays, p.Relays...)
		sum.KernelBytes += p.KernelBytes
		sum.Processes += p.Processes
		why = append(why, p.Why)
		sum.Partial = sum.Partial || p.Partial
	}
	sum.Why = joinDistinct(why)
	return sum
}

// MergeSteps joins what several fleets or machines reported of traffic at the same time. Counts
// and histograms add up exactly. The parts stay as they are. What does not add up:
//
//   - Step is the first one's with the rates added, as of generators that know nothing of each
//     other.
//   - Began is the earliest, Window and Readmit are the longest; Readmit is 0 if a part has none,
//     whose clients did not all come back.
//   - Groups and STUN are joined by name, in the order of their first coming.
//   - Drops are added, and known if one part knows them: two parts that read the same relay's
//     counters would count them twice, so one of them must not read.
//   - Slack.Idle is the mean weighted by Slack.Loops, a part that does not say them having one;
//     BusyNanosPerPacket is weighted by the packets that the groups had delivered.
//   - Series are joined by the number of the interval; a part that has fewer adds nothing to the
//     rest. P99 is the worst of the parts, an upper bound, and P50 their mean weighted by packets
//     delivered: percentiles do not add up, and Groups have the histograms that do.
func MergeSteps(parts []*StepResult) *StepResult {
	sum := &StepResult{}
	if len(parts) == 0 {
		return sum
	}
	sum.Step, sum.Began, sum.Step.Rate = parts[0].Step, parts[0].Began, 0
	away := false // clients of a cut
	for _, p := range parts {
		sum.Step.Rate += p.Step.Rate
		if p.Began.Before(sum.Began) {
			sum.Began = p.Began
		}
		sum.Window = max(sum.Window, p.Window)
		sum.Partial = sum.Partial || p.Partial
		sum.Groups = mergeGroups(sum.Groups, p.Groups)
		sum.Books.merge(&p.Books)
		sum.Wrong.merge(p.Wrong)
		sum.Clients += p.Clients
		sum.Answered += p.Answered
		sum.Asked += p.Asked
		sum.Failures.Merge(p.Failures)
		sum.Logins += p.Logins
		if p.Readmit == 0 {
			away = true
		}
		sum.Readmit = max(sum.Readmit, p.Readmit)
		sum.STUN = mergeSTUN(sum.STUN, p.STUN)
		sum.Processes += p.Processes
		sum.Relays = append(sum.Relays, p.Relays...)
		sum.Notes = mergeNotes(sum.Notes, p.Notes)
	}
	if away {
		sum.Readmit = 0
	}
	sum.Slack = mergeSlack(parts)
	sum.Series = mergeSeries(parts)
	return sum
}

// MergeProgress joins looks at several fleets that work together. Counts and histograms add up;
// Idle is the mean; the phase is that of the part that is furthest behind, and its times are those
// of the part that entered it first and of the one that plans to be in it longest.
func MergeProgress(parts []Progress) Progress {
	var sum Progress
	if len(parts) == 0 {
		return sum
	}
	behind := slices.MinFunc(parts, func(a, b Progress) int {
		return cmp.Compare(a.Phase.order(), b.Phase.order())
	})
	sum.Phase = behind.Phase
	for i := range parts {
		p := &parts[i]
		if p.Phase == sum.Phase {
			sum.Since = max(sum.Since, p.Since)
			sum.Planned = max(sum.Planned, p.Planned)
		}
		sum.Clients += p.Clients
		sum.Wanted += p.Wanted
		sum.Failures.Merge(p.Failures)
		sum.Due += p.Due
		sum.Sent += p.Sent
		sum.Delivered += p.Delivered
		sum.Blocked += p.Blocked
		mergeHist(&sum.Latency, p.Latency)
		sum.Idle += p.Idle / float64(len(parts))
		addCounts(&sum.Dropped, p.Dropped)
	}
	return sum
}

// order is how far a phase is; none yet comes first.
func (p Phase) order() int {
	return slices.Index([]Phase{PhaseRamp, PhaseReady, PhaseWarm, PhaseRun, PhaseDrain, PhaseDone}, p)
}

// mergeHist adds to a histogram that comes into being with the first one that there is.
func mergeHist(sum **Hist, h *Hist) {
	if h == nil {
		return
	}
	if *sum == nil {
		*sum = NewHist()
	}
	(*sum).Merge(h)
}

func addCounts(sum *map[string]uint64, counts map[string]uint64) {
	if *sum == nil && len(counts) > 0 {
		*sum = make(map[string]uint64, len(counts))
	}
	for reason, n := range counts {
		(*sum)[reason] += n
	}
}

// joinDistinct joins what the parts say, each thing once.
func joinDistinct(said []string) string {
	var all []string
	for _, s := range said {
		if s != "" && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return strings.Join(all, "; ")
}

// firstOf is what the first says that says anything, and how many others do: their words differ by
// little.
func firstOf(said []string) string {
	said = slices.DeleteFunc(said, func(s string) bool { return s == "" })
	if len(said) < 2 {
		return strings.Join(said, "")
	}
	return fmt.Sprintf("%s; likewise in others (%d)", said[0], len(said)-1)
}

func mergeGroups(sum, groups []GroupResult) []GroupResult {
	for _, g := range groups {
		i := slices.IndexFunc(sum, func(s GroupResult) bool { return s.Name == g.Name })
		if i < 0 {
			i = len(sum)
			sum = append(sum, GroupResult{Name: g.Name})
		}
		s := &sum[i]
		s.Due += g.Due
		s.Sent += g.Sent
		s.Delivered += g.Delivered
		s.SentBytes += g.SentBytes
		s.Bytes += g.Bytes
		mergeHist(&s.Latency, g.Latency)
	}
	return sum
}

func (b *Books) merge(p *Books) {
	b.Due += p.Due
	b.NotAccepted += p.NotAccepted
	b.Sent += p.Sent
	b.Delivered += p.Delivered
	b.InFlight += p.InFlight
	b.Exposed += p.Exposed
	addCounts(&b.Dropped, p.Dropped)
	b.DroppedKnown = b.DroppedKnown || p.DroppedKnown
}

func (w *Wrong) merge(p Wrong) {
	w.Key += p.Key
	w.Order += p.Order
	w.Content += p.Content
	w.Twice += p.Twice
}

func mergeSTUN(sum, p *STUNResult) *STUNResult {
	if p == nil {
		return sum
	}
	if sum == nil {
		sum = &STUNResult{}
	}
	sum.Due += p.Due
	sum.Sent += p.Sent
	sum.Answered += p.Answered
	sum.Asked += p.Asked
	sum.Lost += p.Lost
	sum.Wrong += p.Wrong
	mergeHist(&sum.Latency, p.Latency)
	return sum
}

func mergeNotes(sum, notes map[string]string) map[string]string {
	if sum == nil && len(notes) > 0 {
		sum = make(map[string]string, len(notes))
	}
	for name, note := range notes {
		// Split what earlier parts said, so that ten equal notes stay one.
		sum[name] = joinDistinct(append(strings.Split(sum[name], "; "), note))
	}
	return sum
}

func mergeSlack(parts []*StepResult) Slack {
	var sum Slack
	var busy, delivered float64
	var limited []string
	for _, p := range parts {
		loops := max(p.Slack.Loops, 1)
		sum.Loops += loops
		sum.Idle += p.Slack.Idle * float64(loops)
		var packets uint64
		for i := range p.Groups {
			packets += p.Groups[i].Delivered
		}
		busy += p.Slack.BusyNanosPerPacket * float64(packets)
		delivered += float64(packets)
		mergeHist(&sum.Lag, p.Slack.Lag)
		sum.CPU.User += p.Slack.CPU.User
		sum.CPU.System += p.Slack.CPU.System
		limited = append(limited, p.Slack.Limited)
	}
	sum.Idle /= float64(sum.Loops)
	if delivered > 0 {
		sum.BusyNanosPerPacket = busy / delivered
	}
	sum.Limited = firstOf(limited)
	return sum
}

func mergeSeries(parts []*StepResult) []Sample {
	var sum []Sample
	for _, p := range parts {
		for i, s := range p.Series {
			if i == len(sum) {
				sum = append(sum, Sample{})
			}
			m := &sum[i]
			m.At = max(m.At, s.At)
			m.Due += s.Due
			m.Sent += s.Sent
			if n := m.Delivered + s.Delivered; n > 0 {
				ours := float64(m.P50) * float64(m.Delivered)
				theirs := float64(s.P50) * float64(s.Delivered)
				m.P50 = time.Duration((ours + theirs) / float64(n))
			}
			m.Delivered += s.Delivered
			m.P99 = max(m.P99, s.P99)
			m.Clients += s.Clients
		}
	}
	return sum
}
