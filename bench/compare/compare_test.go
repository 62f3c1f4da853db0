package compare

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"derpd/bench"
	"derpd/loadgen/host"
)

// five samples around a median, as five rounds have them.
func five(median, spread float64) []float64 {
	return []float64{median * (1 - spread), median * (1 - spread/2), median, median * (1 + spread/2),
		median * (1 + spread)}
}

func figure1(at, measure string, samples ...float64) bench.Figure {
	f := bench.Figure{At: at, Measure: measure, Load: 20000, Samples: samples}
	for i := range samples {
		f.Rounds = append(f.Rounds, i+1)
	}
	return f
}

// reportOf has a peer with these figures, and a reference with its own.
func reportOf(figures, reference []bench.Figure) *bench.Report {
	r := &bench.Report{Time: time.Unix(1e9, 0), Commit: "abc", Scale: "full", Reference: "derper",
		Machine: host.Machine{Fingerprint: "this one"},
		Peers:   []bench.Peer{{Name: "derpd", Digest: "1"}, {Name: "derper", Digest: "2"}},
		Results: []bench.Result{{Scenario: "s", Peer: "derpd", Figures: figures}}}
	if reference != nil {
		r.Results = append(r.Results, bench.Result{Scenario: "s", Peer: "derper", Figures: reference})
	}
	return r
}

func TestVerdicts(t *testing.T) {
	for _, tc := range []struct {
		name     string
		measure  string
		old, new []float64
		// of the reference; nil: it has none
		oldReference, newReference []float64
		want                       Verdict
	}{
		{"the same", bench.CPU, five(10, .05), five(10, .05), nil, nil, Same},
		{"within the threshold", bench.CPU, five(10, .02), five(11.5, .02), nil, nil, Same},
		{"slower", bench.CPU, five(10, .05), five(15, .05), nil, nil, Worse},
		{"faster", bench.CPU, five(10, .05), five(6, .05), nil, nil, Better},
		{"by chance", bench.CPU, []float64{1, 10, 10.1, 30, 31}, []float64{2, 9, 14, 28, 40}, nil, nil,
			Same},
		{"less delivered", bench.Delivered, five(90e3, .05), five(50e3, .05), nil, nil, Worse},
		{"more delivered", bench.Delivered, five(90e3, .05), five(150e3, .05), nil, nil, Better},
		{"four fifths is as far as five fourths", bench.Delivered, five(1000, .01), five(795, .01), nil,
			nil, Worse},
		{"hardly less", bench.Delivered, five(1000, .01), five(810, .01), nil, nil, Same},
		{"a call more", bench.Syscalls, five(3, 0), five(4, 0), nil, nil, Worse},
		{"a call in fifty", bench.Syscalls, five(3, 0), five(3.019, 0), nil, nil, Same},
		{"first allocation", bench.Allocs, five(0, 0), five(1, 0), nil, nil, Worse},
		{"no allocation any more", bench.Allocs, five(1, 0), five(0, 0), nil, nil, Better},
		{"hardly an allocation", bench.Allocs, five(0, 0), five(.01, 0), nil, nil, Same},
		{"the machine slowed down", bench.CPU, five(10, .05), five(15, .05), five(20, .05),
			five(30, .05), Same},
		{"the machine sped up meanwhile", bench.CPU, five(10, .05), five(15, .05), five(20, .05),
			five(19, .05), Worse},
		{"a reference that jumps", bench.Delivered, five(300e3, .05), five(120e3, .05),
			[]float64{2400, 65e3, 2500, 62e3, 20e3}, []float64{2400, 2500, 2600, 2700, 2500}, Worse},
		{"lost below the knee", bench.Lost, five(0, 0), five(.19, .01), nil, nil, Worse},
		{"hardly lost", bench.Lost, five(0, 0), five(.004, .01), five(0, 0), five(0, 0), Same},
		{"counted, whatever the machine", bench.Syscalls, five(3, 0), five(4, 0), five(6, 0),
			five(8, 0), Worse},
		{"two rounds apart", bench.CPU, []float64{10, 11}, []float64{16, 17}, nil, nil, Worse},
		{"two rounds are not five", bench.CPU, []float64{10, 11}, []float64{14, 15}, nil, nil, Same},
		{"one round, much more", bench.CPU, []float64{10}, []float64{23}, nil, nil, Worse},
		{"one round", bench.CPU, []float64{10}, []float64{21}, nil, nil, Same},
		{"two rounds that touch", bench.CPU, []float64{10, 15}, []float64{15, 16}, nil, nil, Same},
		{"a detail", bench.CPUUser, five(1, 0), five(100, 0), nil, nil, Shown},
		{"a sleep of 100 µs", bench.P50, five(60, .2), five(180, .2), nil, nil, Worse},
		{"a tail that wags", bench.P99, five(900, .5), five(1800, .5), nil, nil, Same},
		{"a tail that breaks", bench.P99, five(900, .5), five(9000, .5), nil, nil, Worse},
	} {
		reference := func(samples []float64) []bench.Figure {
			if samples == nil {
				return nil
			}
			return []bench.Figure{figure1("a", tc.measure, samples...)}
		}
		r, err := Reports(
			reportOf([]bench.Figure{figure1("a", tc.measure, tc.old...)}, reference(tc.oldReference)),
			reportOf([]bench.Figure{figure1("a", tc.measure, tc.new...)}, reference(tc.newReference)),
			Options{})
		if err != nil {
			t.Fatal(err)
		}
		if c := r.Changes[0]; c.Verdict != tc.want {
			t.Errorf("%s: %s, want %s (%+v)", tc.name, c.Verdict, tc.want, c)
		}
	}
}

// TestYardstick has only the reference moved, which is no regression unless it is another build.
func TestYardstick(t *testing.T) {
	figures := func(median float64) []bench.Figure {
		return []bench.Figure{figure1("a", bench.CPU, five(median, .02)...)}
	}
	old, new := reportOf(figures(10), figures(10)), reportOf(figures(10), figures(50))
	for _, want := range []Verdict{Shown, Worse} {
		r, err := Reports(old, new, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if c := r.Changes[1]; c.Peer != "derper" || c.Verdict != want {
			t.Errorf("%s: %s, want %s", c.Peer, c.Verdict, want)
		}
		new.Peers[1].Digest = "another"
	}
}

// TestAnotherReference has both moved, but the references are not one build.
func TestAnotherReference(t *testing.T) {
	of := func(median float64) []bench.Figure {
		return []bench.Figure{figure1("a", bench.CPU, five(median, .05)...)}
	}
	old, now := reportOf(of(10), of(20)), reportOf(of(15), of(30))
	now.Peers[1].Digest = "3"
	r, err := Reports(old, now, Options{})
	if err != nil || r.Changes[0].Verdict != Worse {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestChanceIsNoChange compares runs of one build many times: samples vary as on a shared machine.
func TestChanceIsNoChange(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	spread := map[string]float64{bench.CPU: .06, bench.P50: .1, bench.P99: .4, bench.P999: .6,
		bench.Delivered: .05, bench.Goodput: .05, bench.Syscalls: .004, bench.Allocs: 0,
		bench.IdleMemory: .02}
	run := func() *bench.Report {
		drift := 1 + .06*rng.NormFloat64() // of the machine, between runs
		var figures, reference []bench.Figure
		for _, m := range bench.Measures {
			s, ok := spread[m.Name]
			if !ok {
				continue
			}
			at := 1.0
			if usesReference(m.Class) {
				at = max(.5, drift)
			}
			var a, b []float64
			for range 5 {
				a = append(a, 1000*at*max(.1, 1+s*rng.NormFloat64()))
				b = append(b, 2000*at*max(.1, 1+s*rng.NormFloat64()))
			}
			figures = append(figures, figure1("a", m.Name, a...))
			reference = append(reference, figure1("a", m.Name, b...))
		}
		return reportOf(figures, reference)
	}
	const pairs = 200
	changed := 0
	for range pairs {
		r, err := Reports(run(), run(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.with(Worse))+len(r.with(Better)) > 0 {
			changed++
		}
	}
	if changed > pairs/10 {
		t.Errorf("%d of %d pairs of runs of one build differ", changed, pairs)
	}
}

func TestWhatCannotBeCompared(t *testing.T) {
	cpu := []bench.Figure{figure1("a", bench.CPU, 1, 2)}
	base := func() *bench.Report { return reportOf(cpu, nil) }
	for _, tc := range []struct {
		name   string
		change func(r *bench.Report)
		want   string
	}{
		{"machine", func(r *bench.Report) { r.Machine.Fingerprint = "another" },
			"different machines, this one and another"},
		{"scale", func(r *bench.Report) { r.Scale = "quick" }, `"full" and "quick"`},
		{"binding", func(r *bench.Report) { r.CPU = -1 }, "a processor for itself"},
	} {
		other := base()
		tc.change(other)
		_, err := Reports(base(), other, Options{})
		if err == nil || !strings.Contains(err.Error(), tc.want) ||
			!strings.Contains(err.Error(), "-force") {
			t.Errorf("%s: %v", tc.name, err)
		}
		r, err := Reports(base(), other, Options{Force: true})
		if err != nil || len(r.Notes) != 1 || len(r.Changes) != 1 {
			t.Errorf("%s, forced: %+v, %v", tc.name, r, err)
		}
	}
	nothing := base()
	nothing.Results = nil
	if _, err := Reports(base(), nothing, Options{}); err == nil {
		t.Error("nothing in common compares")
	}
}

func TestCountedCrossesMachines(t *testing.T) {
	both := []bench.Figure{figure1("a", bench.CPU, five(1, 0)...),
		figure1("a", bench.Syscalls, five(3, 0)...)}
	other := reportOf([]bench.Figure{figure1("a", bench.CPU, five(9, 0)...),
		figure1("a", bench.Syscalls, five(4, 0)...)}, nil)
	other.Machine.Fingerprint = "another"
	r, err := Reports(reportOf(both, nil), other, Options{Counted: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Changes) != 1 || r.Changes[0].Measure.Name != bench.Syscalls || len(r.Worse()) != 1 {
		t.Errorf("%+v", r.Changes)
	}
}

func TestMissingFigures(t *testing.T) {
	figures := []bench.Figure{figure1("a", bench.CPU, 1, 2), figure1("b", bench.CPU, 1, 2)}
	old := reportOf(figures, nil)
	failed := reportOf(figures[:1], nil)
	failed.Results[0].Error = "round 2: it ended at once\nthe relay has ended"
	r, err := Reports(old, failed, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if w := r.Worse(); len(w) != 1 || w[0].Why != "no figure any more: round 2: it ended at once" {
		t.Errorf("a peer that died: %+v", r.Changes)
	}
	moved := reportOf(slices.Clone(figures[:1]), nil)
	moved.Results[0].Figures[0].Load = 40000
	if r, err = Reports(old, moved, Options{}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"measured at 20000 and now at 40000", "does not have it"} {
		if c := r.Changes[i]; c.Verdict != Unequal || !strings.Contains(c.Why, want) {
			t.Errorf("%+v, want %q", c, want)
		}
	}
	gone := reportOf(figures, nil)
	old.Results = append(old.Results, bench.Result{Scenario: "s2", Peer: "derpd"})
	if r, err = Reports(old, gone, Options{}); err != nil || len(r.Notes) != 1 {
		t.Errorf("a scenario that was not run: %+v, %v", r, err)
	}
}

// TestFailures: a relay that fails what it did not fail before is a regression, also where earlier
// rounds have left figures, or where nothing has any.
func TestFailures(t *testing.T) {
	cpu := []bench.Figure{figure1("a", bench.CPU, five(10, .05)...)}
	const why = "round 2: 7 clients were not back\nit last logged: nothing"
	for _, tc := range []struct {
		name         string
		old, new     string // errors
		figures      []bench.Figure
		failed, note string
	}{
		{"neither", "", "", cpu, "", ""},
		{"with figures", "", why, cpu, "derpd in s: round 2: 7 clients were not back", ""},
		{"without figures", "", why, nil, "derpd in s: round 2: 7 clients were not back", ""},
		{"only before", why, "", cpu, "", ""},
		{"both", "round 1: interrupted", why, cpu, "",
			"failed in both: derpd in s: round 2: 7 clients were not back"},
	} {
		old, now := reportOf(tc.figures, nil), reportOf(tc.figures, nil)
		old.Results[0].Error, now.Results[0].Error = tc.old, tc.new
		r, err := Reports(old, now, Options{})
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if got := strings.Join(r.Failed, "|"); got != tc.failed || r.Regressed() != (tc.failed != "") ||
			strings.Join(r.Notes, "|") != tc.note {
			t.Errorf("%s: failed %q, notes %q", tc.name, r.Failed, r.Notes)
		}
	}
	now := reportOf(cpu, nil)
	now.Results = append(now.Results, bench.Result{Scenario: "s2", Peer: "derpd", Error: "interrupted"})
	now.Partial = true
	r, err := Reports(reportOf(cpu, nil), now, Options{})
	if err != nil || !r.Regressed() || len(r.Notes) != 1 ||
		!strings.Contains(r.Notes[0], "the new run was interrupted") {
		t.Errorf("%+v, %v", r, err)
	}
	var b bytes.Buffer
	if err := r.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"REGRESSION: 1 failed, 1 figures unchanged",
		"- failed: derpd in s2: interrupted\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
}

// TestLoads compares only what was measured at one load, and near ones where they were searched for.
func TestLoads(t *testing.T) {
	for _, tc := range []struct {
		old, new           float64
		oldFound, newFound bool
		want               Verdict
		hint               bool
	}{
		{20_000, 20_000, false, false, Worse, false},
		{13_600, math.Nextafter(13_600, 0), false, false, Worse, false}, // arithmetic
		{12_000, 15_000, false, false, Unequal, true},                   // neighbours among rounded knees
		{15_000, 12_000, false, false, Unequal, true},
		{82_000, 100_000, false, false, Unequal, true},
		{0, 12_000, false, false, Unequal, true},
		{80_000, 95_000, true, true, Worse, false}, // two steps of a search
		{95_000, 80_000, true, true, Worse, false},
		{80_000, 95_000, false, true, Worse, false}, // a report of before
		{80_000, 104_000, true, true, Unequal, false},
		{104_000, 80_000, true, true, Unequal, false},
		{0, 80_000, true, true, Unequal, false},
	} {
		old, now := figure1("a", bench.CPU, five(10, .05)...), figure1("a", bench.CPU, five(20, .05)...)
		old.Load, old.Found, now.Load, now.Found = tc.old, tc.oldFound, tc.new, tc.newFound
		r, err := Reports(reportOf([]bench.Figure{old}, nil), reportOf([]bench.Figure{now}, nil), Options{})
		if err != nil {
			t.Fatal(err)
		}
		c := r.Changes[0]
		if c.Verdict != tc.want || strings.Contains(c.Why, "bench run -like") != tc.hint {
			t.Errorf("%v and now %v: %s, want %s (%s)", tc.old, tc.new, c.Verdict, tc.want, c.Why)
		}
		if told := strings.Contains(strings.Join(r.Notes, ""), "-like OLD"); told != tc.hint {
			t.Errorf("%v and now %v: notes %q", tc.old, tc.new, r.Notes)
		}
	}
}

func TestMarkdown(t *testing.T) {
	old := reportOf([]bench.Figure{figure1("20k", bench.CPU, five(10, .05)...),
		figure1("60k", bench.CPU, five(7, .05)...), figure1("20k", bench.CPUUser, five(7, .05)...)}, nil)
	now := reportOf([]bench.Figure{figure1("20k", bench.CPU, five(15, .05)...),
		figure1("60k", bench.CPU, five(7, .05)...), figure1("20k", bench.CPUUser, five(7, .05)...)}, nil)
	now.Commit = "<script>|"
	r, err := Reports(old, now, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{"REGRESSION: 1 worse, 1 figures unchanged",
		"| worse | s | 20k | derpd | cpu | 10 µs ±5% | 15 µs ±5% | +50 % | – | 0.008 (5+5) |",
		"<details><summary>1 figures unchanged", "1 figures not judged", `&lt;script&gt;\|`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestMost holds figures to what they may be at most, in their best round.
func TestMost(t *testing.T) {
	most, err := ParseMost("derpd/a/batched-syscalls=0.2")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		samples []float64
		want    Verdict
	}{
		{"below", five(.1, .1), Same},
		{"three times the old one, and allowed", five(.19, 0), Same},
		{"above in most rounds", []float64{.3, .5, .19, .4, .3}, Same},
		{"above", five(.3, .1), Worse},
	} {
		r, err := Reports(reportOf([]bench.Figure{figure1("a", bench.Batched, five(.06, .1)...)}, nil),
			reportOf([]bench.Figure{figure1("a", bench.Batched, tc.samples...)}, nil),
			Options{Counted: true, Most: []Most{most}})
		if err != nil {
			t.Fatal(err)
		}
		if c := r.Changes[0]; c.Verdict != tc.want {
			t.Errorf("%s: %s, want %s (%+v)", tc.name, c.Verdict, tc.want, c)
		}
	}
	for _, s := range []string{"", "a/b=1", "p/a/beauty=1", "p/a/cpu", "p/a/cpu=x", "p/a/cpu=-1",
		"p/a/cpu=NaN"} {
		if m, err := ParseMost(s); err == nil {
			t.Errorf("%q is %+v", s, m)
		}
	}
}

// TestLimitsHoldSomething: one that no figure of the new report has would never be exceeded.
func TestLimitsHoldSomething(t *testing.T) {
	allocs := []bench.Figure{figure1("a", bench.Allocs, five(0, 0)...)}
	both := append(slices.Clone(allocs), figure1("bulk", bench.Batched, five(.1, 0)...))
	died := "round 1: it ended"
	for _, tc := range []struct {
		name, most string
		old, new   []bench.Figure
		note, died string // of the new report
		want       string // of the error; "": none
		verdict    Verdict
	}{
		{"there", "derpd/bulk/batched-syscalls=0.2", both, both, "", "", "", Same},
		{"misspelt load", "derpd/bluk/batched-syscalls=0.2", both, both, "", "",
			"-most derpd/bluk/batched-syscalls=0.2 is of no figure of the new report: name a peer", ""},
		{"misspelt peer", "depd/bulk/batched-syscalls=0.2", both, both, "", "", "-most depd/", ""},
		{"missing", "derpd/bulk/batched-syscalls=0.2", both, allocs, "", "", "-most derpd/bulk/", ""},
		{"not for this machine", "derpd/bulk/batched-syscalls=0.2", both, allocs,
			"derpd: system calls: not root", "", "", Unequal},
		{"not for another peer", "derpd/bulk/batched-syscalls=0.2", both, allocs,
			"derpd-2: system calls: not root", "", "-most derpd/bulk/", ""},
		{"misspelt, and not for this machine", "derpd/bluk/batched-syscalls=0.2", both, allocs,
			"derpd: system calls: not root", "", "-most derpd/bluk/", ""},
		{"failed", "derpd/bulk/batched-syscalls=0.2", both, allocs, "", died, "", Worse},
		{"new and below", "derpd/bulk/batched-syscalls=0.2", allocs, both, "", "", "", Same},
		{"new and above", "derpd/bulk/batched-syscalls=0.05", allocs, both, "", "", "", Worse},
	} {
		m, err := ParseMost(tc.most)
		if err != nil {
			t.Fatal(err)
		}
		now := reportOf(tc.new, nil)
		now.Results[0].Error = tc.died
		if tc.note != "" {
			now.Notes = []string{tc.note}
		}
		r, err := Reports(reportOf(tc.old, nil), now, Options{Counted: true, Most: []Most{m}})
		switch {
		case tc.want != "":
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: the error is %v, want %q", tc.name, err, tc.want)
			}
		case err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case r.Changes[len(r.Changes)-1].Verdict != tc.verdict:
			t.Errorf("%s: %+v, want %s", tc.name, r.Changes, tc.verdict)
		}
	}
	// That it fails elsewhere, as it did before, says nothing of the figure.
	old, now := reportOf(both, nil), reportOf(allocs, nil)
	for _, r := range []*bench.Report{old, now} {
		r.Results = append(r.Results, bench.Result{Scenario: "s2", Peer: "derpd", Error: died})
	}
	bulk := []Most{{"derpd", "bulk", bench.Batched, .2}}
	if r, err := Reports(old, now, Options{Most: bulk}); err == nil {
		t.Errorf("failed elsewhere: %+v", r)
	}
	// Whatever the load was before.
	now = reportOf([]bench.Figure{figure1("bulk", bench.Batched, five(.3, 0)...)}, nil)
	now.Results[0].Figures[0].Load = 60_000
	r, err := Reports(reportOf(both, nil), now, Options{Most: bulk})
	if err != nil || len(r.Worse()) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestWhatIsMissingIsTold: what the new machine could not measure is no regression, and is said.
func TestWhatIsMissingIsTold(t *testing.T) {
	old := reportOf([]bench.Figure{figure1("a", bench.Syscalls, 3, 3), figure1("a", bench.Allocs, 0)}, nil)
	now := reportOf([]bench.Figure{figure1("a", bench.Allocs, 0)}, nil)
	now.Notes = []string{"derpd: system calls: not root"}
	r, err := Reports(old, now, Options{Counted: true})
	if err != nil || len(r.Worse()) > 0 || r.Notes[0] != "not compared: derpd: system calls: not root" {
		t.Errorf("%+v, %v", r, err)
	}
}
