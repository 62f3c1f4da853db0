package view

import (
	"fmt"
	"strings"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/units"
)

// status tells a look at a fleet in words. Its meters carry on from look to look.
type status struct {
	clients, due, delivered meter
	over                    bool // the phase: a ramp is then told by its mean rate
}

// look takes note of a progress.
func (s *status) look(at time.Time, p *loadgen.Progress) {
	s.clients.add(at, float64(p.Clients))
	s.due.add(at, float64(p.Due))
	s.delivered.add(at, float64(p.Delivered))
}

// line tells the figures of a phase.
func (s *status) line(p *loadgen.Progress) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch p.Phase {
	case loadgen.PhaseRamp, loadgen.PhaseReady:
		add("%s of %s logged in", units.Count(p.Clients), units.Count(p.Wanted))
		switch {
		case p.Phase == loadgen.PhaseReady:
		case s.over && p.Since > 0:
			add("%s/s", units.Whole(float64(p.Clients)/p.Since.Seconds()))
		default:
			add("%s/s", units.Whole(s.clients.perSecond()))
		}
	case loadgen.PhaseDrain:
		add("%s of %s sent were delivered", units.Count(p.Delivered), units.Count(p.Sent))
		add("%s", dropped(p.Dropped))
	default:
		add("%s/s due", units.Whole(s.due.perSecond()))
		add("%s/s delivered", units.Whole(s.delivered.perSecond()))
		if p.Latency.Count() > 0 {
			add("p99 %s", units.Time(p.Latency.At(99)))
		}
		add("%s", dropped(p.Dropped))
		if p.Blocked > 0 {
			add("%s held back", units.Count(p.Blocked))
		}
	}
	if n := p.Failures.Sum(); n > 0 {
		add("%s failed", units.Count(n))
	}
	return strings.Join(parts, " · ")
}

// dropped sums up what the relay dropped; without counts they are not known (yet).
func dropped(counts map[string]uint64) string {
	if counts == nil {
		return "drops not known"
	}
	return lost(counts)
}

func lost(counts map[string]uint64) string {
	var sum uint64
	for _, n := range counts {
		sum += n
	}
	return units.Count(sum) + " dropped"
}

// clock tells how far a phase is.
func clock(p *loadgen.Progress) string {
	switch {
	case p.Planned == 0:
		return units.Clock(p.Since)
	case p.Phase == loadgen.PhaseDrain:
		return units.Clock(p.Since) + " of at most " + units.Clock(p.Planned)
	}
	return units.Clock(p.Since) + " of " + units.Clock(p.Planned)
}

// ended is the last word on a phase, from its last look and the first one after it, so long apart:
// the counts of the later one, unless they are of another step.
func ended(last, next loadgen.Progress, apart time.Duration) loadgen.Progress {
	last.Since += max(apart-next.Since, 0)
	if next.Due < last.Due || next.Delivered < last.Delivered {
		return last
	}
	next.Phase, next.Since, next.Planned = last.Phase, last.Since, last.Planned
	return next
}
