package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"derpd/loadgen"
)

// machine is the report of one of several machines that run the same.
func machine(i int) *Report {
	r := sample(2)
	r.Host = fmt.Sprintf("bench-%d", i)
	r.Job.Options.Seed = uint64(i)
	r.Time = r.Time.Add(time.Duration(-i) * time.Second)
	return r
}

func TestMergeAddsUp(t *testing.T) {
	a, b, c := machine(1), machine(2), machine(3)
	before := string(text(t, a))
	// The relay dropped 330 packets, and each machine has read all of its counters; b read a
	// moment later, when there was one more.
	for _, r := range []*Report{a, b, c} {
		for _, s := range r.Steps {
			s.Books.Dropped = map[string]uint64{"queue_head": 300, "gone": 29}
		}
	}
	for _, s := range b.Steps {
		s.Books.Dropped["gone"] = 30
	}
	for _, s := range c.Steps { // a moment earlier
		s.Books.Dropped["gone"] = 28
	}
	b.Incidents = []string{"the metrics were late"}
	merged, err := Merge([]*Report{a, b, c})
	if err != nil {
		t.Fatal(err)
	}
	s := merged.Steps[1]
	if s.Books.Due != 3*a.Steps[1].Books.Due || s.Books.Drops() != 330 || s.Books.Unexplained() != 0 {
		t.Errorf("books %+v", s.Books)
	}
	want := a.Steps[1].Groups[0].Latency.Clone()
	want.Merge(b.Steps[1].Groups[0].Latency)
	want.Merge(c.Steps[1].Groups[0].Latency)
	for _, p := range []float64{0, 50, 99, 99.99, 100} {
		if got := s.Groups[0].Latency; got.Count() != want.Count() || got.At(p) != want.At(p) {
			t.Errorf("p%g of %d is %v, want %v of %d", p, got.Count(), got.At(p), want.At(p),
				want.Count())
		}
	}
	if merged.Ramp.Clients != 6000 || s.Clients != 6000 || !merged.Time.Equal(c.Time) || len(merged.Merged) != 3 {
		t.Errorf("clients %d, time %v, %d origins", merged.Ramp.Clients, merged.Time,
			len(merged.Merged))
	}
	if len(merged.Job.Targets) != 1 {
		t.Errorf("targets %v", merged.Job.Targets)
	}
	if len(merged.Failed) != 1 || merged.Failed[0] != "machine 2 (bench-2): the metrics were late" {
		t.Errorf("failed by %q", merged.Failed)
	}
	for _, part := range []string{"from 3 machines", "bench-1", "bench-2", "bench-3",
		"120,000 packets/s"} {
		if !strings.Contains(string(text(t, merged)), part) {
			t.Errorf("no %q in the text", part)
		}
	}
	for i := range a.Steps {
		a.Steps[i].Books.Dropped = map[string]uint64{"queue_head": 100, "gone": 10}
	}
	if string(text(t, a)) != before {
		t.Error("merging changed a part")
	}
}

func TestMergeAddsDropsOfDifferentRelays(t *testing.T) {
	a, b := machine(1), machine(2)
	b.Job.Targets = []loadgen.Target{{Addr: a.Job.Targets[0].Addr, Varz: "http://other/debug/varz"}}
	merged, err := Merge([]*Report{a, b})
	if err != nil {
		t.Fatal(err)
	}
	if n := merged.Steps[0].Books.Drops(); n != 220 || len(merged.Failed) > 0 {
		t.Errorf("%d drops, failed by %q", n, merged.Failed)
	}
	if len(merged.Job.Targets) != 2 {
		t.Errorf("targets %v", merged.Job.Targets)
	}
}

func TestMergeRefuses(t *testing.T) {
	for _, c := range []struct {
		change func(r *Report)
		want   string
	}{
		{func(r *Report) { *r = *machine(1) }, "machine 1 (bench-1) and machine 2 (bench-1) cannot " +
			"be merged: they are the same run"},
		{func(r *Report) { r.Kind = Plan }, "machine 2 (bench-2) cannot be merged: it is of a plan"},
		{func(r *Report) { r.Error = "no such host" }, "it was not made: no such host"},
		{func(r *Report) { r.Steps, r.Ramp = nil, nil }, "nothing was measured"},
		{func(r *Report) { r.Job.Options.Seed = 1 }, "both have the seed 1, so that their clients had " +
			"the same keys and pushed each other out; give no -seed, or"},
		{func(r *Report) { r.Job.Workload.Name = "bulk" }, `workloads differ, "chatter" and "bulk"`},
		{func(r *Report) { r.Job.Workload.Idle++ }, "or in detail; give each machine the same options, " +
			"but for -seed"},
		{func(r *Report) { r.Steps = r.Steps[:1] }, "they have 2 and 1 steps"},
		{func(r *Report) { r.Steps[1].Step.Rate = 5 }, "step 2: 40,000 packets/s for 30s and 5"},
		{func(r *Report) { r.Steps[1].Began = r.Steps[1].Began.Add(time.Minute) },
			"step 2: of 30s they ran 0s at the same time, so their rates do not add up; give all " +
				"machines the same -start-at, late enough"},
		{func(r *Report) { r.Steps[0].Began = r.Steps[0].Began.Add(4 * time.Second) },
			"step 1: of 30s they ran 26s at the same time"},
		{func(r *Report) { r.Steps[0].Began = r.Steps[0].Began.Add(-4 * time.Second) },
			"step 1: of 30s they ran 26s at the same time"},
		{func(r *Report) { r.Steps[0].Window = 20 * time.Second },
			"step 1: of 30s they ran 20s at the same time"},
		{func(r *Report) { r.Steps[0].Groups = r.Steps[0].Groups[:1] }, "they have 2 and 1 groups"},
		{func(r *Report) { r.Steps[0].Groups[1].Name = "x" }, `group 2 is "disco" and "x"`},
	} {
		b := machine(2)
		c.change(b)
		_, err := Merge([]*Report{machine(1), b})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	if _, err := Merge([]*Report{machine(1)}); err == nil ||
		!strings.Contains(err.Error(), "1 report is nothing to merge") {
		t.Errorf("error %v", err)
	}
}

// Machines that begin a little apart, or do not say when, are merged.
func TestMergeOfNearlyTheSameTime(t *testing.T) {
	for _, change := range []func(s *loadgen.StepResult){
		func(s *loadgen.StepResult) { s.Began = s.Began.Add(3 * time.Second) },
		func(s *loadgen.StepResult) { s.Began = s.Began.Add(-3 * time.Second) },
		func(s *loadgen.StepResult) { s.Window -= 3 * time.Second },
		func(s *loadgen.StepResult) { s.Began = time.Time{} },
	} {
		b := machine(2)
		change(b.Steps[0])
		if _, err := Merge([]*Report{machine(1), b}); err != nil {
			t.Error(err)
		}
	}
}

// What was merged can be merged again, but not with a part of itself.
func TestMergeOfMerged(t *testing.T) {
	ab, err := Merge([]*Report{machine(1), machine(2)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Merge([]*Report{ab, machine(2)}); err == nil ||
		!strings.Contains(err.Error(), "the same run") {
		t.Errorf("error %v", err)
	}
	twin := machine(3)
	twin.Job.Options.Seed = 2
	if _, err := Merge([]*Report{ab, twin}); err == nil ||
		!strings.Contains(err.Error(), "both have the seed 2") {
		t.Errorf("error %v", err)
	}
	twin.Job.Options.Part = 1 // of the same seed, but with keys of its own
	if _, err := Merge([]*Report{ab, twin}); err != nil {
		t.Error(err)
	}
	abc, err := Merge([]*Report{ab, machine(3)})
	if err != nil {
		t.Fatal(err)
	}
	if len(abc.Merged) != 3 || abc.Steps[0].Step.Rate != 60_000 {
		t.Errorf("%d machines, %v", len(abc.Merged), abc.Steps[0].Step)
	}
}
