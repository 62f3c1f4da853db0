package plan

import (
	"slices"
	"testing"
	"time"

	"derpd/loadgen"
)

func TestMissed(t *testing.T) {
	res := &Result{Planned: Planned{Rate: 1000, P99: 10 * time.Millisecond},
		Workload: loadgen.Workload{Groups: []loadgen.Group{{Name: "talk", Share: 1},
			{Name: "others", Rate: 100}, {Name: "frozen", Share: 1,
				Reading: loadgen.Reading{Never: true}}}}}
	// group is of so many packets due, of which some were delivered after a time.
	group := func(name string, due, delivered int, took time.Duration) loadgen.GroupResult {
		g := loadgen.GroupResult{Name: name, Due: uint64(due), Latency: loadgen.NewHist()}
		for range delivered {
			g.Latency.Record(took)
		}
		return g
	}
	frozen := group("frozen", 5000, 0, 0)
	for name, tc := range map[string]struct {
		talk, others loadgen.GroupResult
		partial      bool
		want         []string
	}{
		"kept": {talk: group("talk", 10_000, 9990, 9*time.Millisecond),
			others: group("others", 1000, 1000, time.Millisecond)},
		"dropped, or never accepted": {talk: group("talk", 9000, 8980, time.Millisecond),
			others: group("others", 1000, 1000, time.Millisecond),
			want:   []string{"99.80 % of the packets due were delivered, the plan demands 99.9 %"}},
		"late": {talk: group("talk", 9000, 9000, 12*time.Millisecond),
			others: group("others", 1000, 1000, time.Millisecond),
			want:   []string{"the p99 of talk was 12.007ms, the plan promises 10ms"}},
		"a group got nothing": {talk: group("talk", 1_000_000, 1_000_000, time.Millisecond),
			others: group("others", 100, 0, 0),
			want:   []string{"others got none of the 100 packets due"}},
		"nobody got anything": {talk: group("talk", 900, 0, 0), others: group("others", 100, 0, 0),
			want: []string{"talk got none of the 900 packets due",
				"others got none of the 100 packets due",
				"0.00 % of the packets due were delivered, the plan demands 99.9 %"}},
		"nothing was due": {talk: group("talk", 0, 0, 0), others: group("others", 0, 0, 0),
			want: []string{"talk got none of the 0 packets due",
				"others got none of the 0 packets due"}},
		"interrupted": {talk: group("talk", 900, 0, 0), others: group("others", 100, 0, 0),
			partial: true},
	} {
		got := res.Missed(&loadgen.StepResult{Partial: tc.partial,
			Groups: []loadgen.GroupResult{tc.talk, tc.others, frozen}})
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
