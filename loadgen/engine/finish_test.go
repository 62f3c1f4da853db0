package engine

import (
	"strings"
	"testing"
	"time"

	"derpd/loadgen"
)

// TestLimitedBesideAChokedReceiver: a generator that is late is told so by the group that waits
// least, whatever others wait for.
func TestLimitedBesideAChokedReceiver(t *testing.T) {
	hist := func(d time.Duration) *loadgen.Hist {
		h := loadgen.NewHist()
		h.Record(d)
		return h
	}
	choked := loadgen.GroupResult{Latency: hist(time.Second)}
	quick := loadgen.GroupResult{Latency: hist(12 * time.Millisecond)}
	silent := loadgen.GroupResult{Latency: loadgen.NewHist()}
	for _, c := range []struct {
		name   string
		lag    time.Duration
		groups []loadgen.GroupResult
		late   bool
	}{
		{"the others are its lateness", 8 * time.Millisecond,
			[]loadgen.GroupResult{choked, quick, silent}, true},
		{"late by little of it", 2500 * time.Microsecond,
			[]loadgen.GroupResult{choked, quick, silent}, false},
		{"only the choked", 8 * time.Millisecond, []loadgen.GroupResult{silent, choked}, false},
		{"nothing came", 8 * time.Millisecond, []loadgen.GroupResult{silent}, true},
	} {
		r := &loadgen.StepResult{Groups: c.groups,
			Slack: loadgen.Slack{Idle: 0.5, Lag: hist(c.lag)}}
		why := limited(&r.Slack, leastP99(r))
		if strings.Contains(why, "late") != c.late {
			t.Errorf("%s: %q", c.name, why)
		}
	}
}
