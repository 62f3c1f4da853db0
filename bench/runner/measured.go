package runner

import (
	"fmt"
	"math"
	"slices"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/report"
)

// Ramped is what logging in took.
type Ramped struct {
	*loadgen.RampResult
	CPU time.Duration // of the relay
}

// Measured is a step with what the relay used in its window.
type Measured struct {
	*loadgen.StepResult
	CPU          time.Duration
	user, system int // how often the relay was seen in the program and in the kernel
}

// Packets is how many were delivered in the window, of all groups.
func (m *Measured) Packets() (n uint64) {
	for i := range m.Groups {
		n += m.Groups[i].Delivered
	}
	return n
}

// Due is how many were due in the window, of all groups.
func (m *Measured) Due() (n uint64) {
	for i := range m.Groups {
		n += m.Groups[i].Due
	}
	return n
}

// Sent is how many were written in the window, of all groups.
func (m *Measured) Sent() (n uint64) {
	for i := range m.Groups {
		n += m.Groups[i].Sent
	}
	return n
}

// PerSecond is packets delivered a second.
func (m *Measured) PerSecond() float64 { return float64(m.Packets()) / m.Window.Seconds() }

// Latency is that of all groups together.
func (m *Measured) Latency() *loadgen.Hist {
	h := loadgen.NewHist()
	for i := range m.Groups {
		h.Merge(m.Groups[i].Latency)
	}
	return h
}

// Group is the result of a group; nil if there is none of this name.
func (m *Measured) Group(name string) *loadgen.GroupResult {
	i := slices.IndexFunc(m.Groups, func(g loadgen.GroupResult) bool { return g.Name == name })
	if i < 0 {
		return nil
	}
	return &m.Groups[i]
}

// CPUMicros is the relay's processor time a packet in µs, and its parts in the program and in the
// kernel. NaN or infinite: nothing was delivered, or it was seen too rarely to tell the parts.
func (m *Measured) CPUMicros() (all, user, system float64) {
	all = Micros(m.CPU) / float64(m.Packets())
	seen := m.user + m.system
	if seen < samplesMin {
		return all, math.NaN(), math.NaN()
	}
	share := float64(m.user) / float64(seen)
	return all, all * share, all * (1 - share)
}

// Micros is a time in µs.
func Micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// judge holds a step to the rules of a run of loadgen. What the relay delivered wrong is an error.
func (s *Session) judge(r *loadgen.StepResult) error {
	judged := *r
	if lost := judged.Books.Unexplained(); !judged.Books.DroppedKnown && lost > 0 {
		// A peer that does not tell what it drops may drop.
		judged.Books.Dropped = map[string]uint64{"not told": uint64(lost)}
		judged.Books.DroppedKnown = true
	}
	page := report.Report{Job: s.job, Steps: []*loadgen.StepResult{&judged}}
	report.Judge(&page)
	if r.Wrong.Any() && len(page.Failed) > 0 {
		return fmt.Errorf("the relay does not what it should: %s", page.Failed[0])
	}
	for _, why := range page.Failed {
		s.Remark("at %.0f packets/s: %s", r.Step.Rate, why)
	}
	return nil
}
