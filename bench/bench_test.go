package bench

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/perf/benchfmt"

	"derpd/loadgen/host"
)

// sample is a report with fixed figures: derpd takes 5 µs a packet, derper 10.
func sample() *Report {
	figures := func(scale float64) []Figure {
		return []Figure{
			{At: "20k", Measure: CPU, Load: 20000, Samples: []float64{5 * scale, 4 * scale, 6 * scale},
				Rounds: []int{1, 2, 3}},
			{At: "20k", Measure: Delivered, Load: 20000, Samples: []float64{20000}, Rounds: []int{2}},
			{Measure: IdleMemory, Samples: []float64{2500 * scale}, Rounds: []int{1}},
		}
	}
	return &Report{Time: time.Unix(1e9, 0).UTC(), Command: "bench run", Version: "1", Go: "go1",
		Scale: "quick", Reference: "derper-1", Peers: []Peer{{Name: "derpd"}, {Name: "derper-1"}},
		Machine: host.Machine{Arch: "amd64", CPU: "Some  CPU", Kernel: "6.1"},
		Results: []Result{
			{Scenario: "bulk-tls", Peer: "derpd", Figures: figures(1)},
			{Scenario: "bulk-tls", Peer: "derper-1", Figures: figures(2)},
			{Scenario: "stun", Peer: "derpd", Error: "it ended at once"},
		}}
}

func TestReportSurvivesAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	if err := Write(path, sample()); err != nil {
		t.Fatal(err)
	}
	r, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if r.Result("bulk-tls", "derper-1").Figure("20k", CPU).Samples[1] != 8 || !r.Failed() ||
		r.Peer("derpd") == nil || r.Peer("nobody") != nil || r.Result("stun", "derper-1") != nil {
		t.Errorf("read back: %+v", r)
	}
	if got := strings.Join(r.Scenarios(), " "); got != "bulk-tls stun" {
		t.Errorf("scenarios %q", got)
	}
}

// TestNotesOfAPeer are told from those of others.
func TestNotesOfAPeer(t *testing.T) {
	r := &Report{Notes: []string{Note("derpd-2", "left out: no io_uring"), "a note of nobody"}}
	if !r.Lacks("derpd-2") || r.Lacks("derpd") || r.Lacks("a") || r.Lacks("") {
		t.Errorf("%q", r.Notes)
	}
}

// TestEarlierReportsAreRead: fields that came later have a meaning where they are absent.
func TestEarlierReportsAreRead(t *testing.T) {
	r, err := Decode([]byte(`{"format": 1, "kind": "bench", "peers": [{"name": "p"}], "results": [
		{"scenario": "knee-tls", "peer": "p", "figures": [
			{"at": "1-a-write", "measure": "cpu", "load": 80000, "samples": [5], "rounds": [1]}]}]}`))
	if err != nil || r.Results[0].Figures[0].Found || r.Failed() || r.Lacks("p") {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := Read("gate.json"); err != nil {
		t.Error(err)
	}
}

func TestReadRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	if err := Write(path, sample()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, old, new, want string }{
		{"no JSON", "{", "", "damaged or no report"},
		{"of loadgen", `"kind": "bench"`, `"kind": "run"`, "no report of bench"},
		{"no format", `"format": 1`, `"formal": 1`, "no report of bench"},
		{"older", `"format": 1`, `"format": 0`, "format 0"},
		{"wrong type", `"scale": "quick"`, `"scale": 7`, "damaged"},
		{"strange peer", `"peer": "derper-1"`, `"peer": "x"`, "none of its peers"},
		{"strange reference", `"reference": "derper-1"`, `"reference": "x"`, `reference "x"`},
		{"twice", `"name": "derper-1"`, `"name": "derpd"`, `two peers are named "derpd"`},
		{"unknown measure", `"measure": "delivered"`, `"measure": "beauty"`, "beauty"},
		{"rounds", `"rounds": [`, `"rounds": [17,`, "3 samples of 4 rounds"},
		{"name", `"scenario": "stun"`, `"scenario": "a b"`, "a b"},
	} {
		b := strings.Replace(string(whole), tc.old, tc.new, 1)
		if b == string(whole) {
			t.Fatalf("%s: %q is not in the report", tc.name, tc.old)
		}
		if err := os.WriteFile(path, []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Read(path)
		if err == nil || !strings.Contains(err.Error(), tc.want) ||
			!strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want a sentence with %q", tc.name, err, tc.want)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "absent")); err == nil ||
		!strings.Contains(err.Error(), "no such file") {
		t.Errorf("absent: %v", err)
	}
}

func TestSummaries(t *testing.T) {
	for _, tc := range []struct {
		samples        []float64
		median, lo, hi float64
		sure           bool
	}{
		{[]float64{7}, 7, 7, 7, false},
		{[]float64{9, 1, 5}, 5, 1, 9, false},
		{[]float64{1, 2, 3, 4, 5}, 3, 1, 5, true},
		{[]float64{9, 1, 2, 3, 4, 5, 6, 7, 8}, 5, 2, 8, true},
	} {
		s := Summarise(tc.samples)
		if s.Median != tc.median || s.Lo != tc.lo || s.Hi != tc.hi || s.Sure != tc.sure {
			t.Errorf("%v: %+v", tc.samples, s)
		}
	}
	if tc := []float64{3, 1, 2}; Summarise(tc).Median != 2 || tc[0] != 3 {
		t.Error("the samples were sorted in place")
	}
	if Summarise(nil).Known() || (*Figure)(nil).Summary().Known() {
		t.Error("nothing is known of no samples")
	}
	if s := Summarise([]float64{8, 10, 12}); math.Abs(s.Spread()-0.2) > 1e-9 {
		t.Errorf("spread %v", s.Spread())
	}
	if s := Summarise([]float64{0}); s.Spread() != 0 {
		t.Errorf("spread of zero %v", s.Spread())
	}
}

// TestRatioIsOfTheSameRounds has a machine that was twice as slow in round 2.
func TestRatioIsOfTheSameRounds(t *testing.T) {
	f := &Figure{Samples: []float64{5, 12, 100}, Rounds: []int{1, 2, 7}}
	reference := &Figure{Samples: []float64{24, 10, 0}, Rounds: []int{2, 1, 3}}
	if s := Ratio(f, reference); s.Lo != 0.5 || s.Hi != 0.5 || s.N != 2 {
		t.Errorf("%+v, want 0.5 twice", s)
	}
	if Ratio(f, nil).Known() || Ratio(nil, f).Known() {
		t.Error("a ratio of nothing is known")
	}
}

func TestGoBenchIsRead(t *testing.T) {
	var b bytes.Buffer
	if err := GoBench(&b, sample()); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	in := benchfmt.NewReader(&b, "test")
	lines, cpu := 0, 0.0
	for in.Scan() {
		switch rec := in.Result().(type) {
		case *benchfmt.SyntaxError:
			t.Errorf("%v in\n%s", rec, text)
		case *benchfmt.Result:
			lines++
			if v, ok := rec.Value("cpu-us/packet"); ok {
				cpu += v
			}
			if _, parts := rec.Name.Parts(); len(parts) < 2 ||
				strings.HasPrefix(string(parts[len(parts)-1]), "-") {
				t.Errorf("%s is taken apart as %q", rec.Name, parts)
			}
			if got := rec.GetConfig("cpu"); got != "Some CPU" {
				t.Errorf("cpu is %q", got)
			}
		}
	}
	// Three rounds at 20k and one without a load, of two peers.
	if lines != 8 || cpu != 15+30 {
		t.Errorf("%d lines, %v µs, of\n%s", lines, cpu, text)
	}
	if in.Units().GetBetter("packets/s") != 1 || in.Units().GetBetter("cpu-us/packet") != -1 {
		t.Error("what is better is not told")
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"derpd", "derper-1.104.5", "10%", "4×"} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "a b", "a/b", "a=b", "a|b", "a\x1b", "<b>", strings.Repeat("x", 61)} {
		if CheckName(name) == nil {
			t.Errorf("%q passes", name)
		}
	}
}

func TestIdentify(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := Peer{Path: exe}
	if err := p.Identify(); err != nil || len(p.Digest) != 16 || !strings.Contains(p.Version, "go1") {
		t.Errorf("%+v, %v", p, err)
	}
	script := filepath.Join(t.TempDir(), "relay")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	q := Peer{Path: script}
	if err := q.Identify(); err != nil || q.Digest == p.Digest || q.Version != "" {
		t.Errorf("%+v, %v", q, err)
	}
	if err := (&Peer{Path: "/nowhere"}).Identify(); err == nil {
		t.Error("a binary that is not there is known")
	}
}

func TestMeasuresAreTold(t *testing.T) {
	names, unitNames := map[string]bool{}, map[string]bool{}
	for _, m := range Measures {
		if names[m.Name] || unitNames[m.Unit] || m.Text == "" || m.Format == nil || m.Class == "" ||
			strings.Contains(m.Unit, " ") {
			t.Errorf("%+v", m)
		}
		names[m.Name], unitNames[m.Unit] = true, true
		if got, ok := Find(m.Name); !ok || got.Unit != m.Unit {
			t.Errorf("%s is not found", m.Name)
		}
	}
	if _, ok := Find("beauty"); ok {
		t.Error("a measure is found that is not there")
	}
}

func FuzzDecode(f *testing.F) {
	path := filepath.Join(f.TempDir(), "r.json")
	if err := Write(path, sample()); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"format":1,"kind":"bench","peers":null,"results":[{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		if err != nil {
			return
		}
		if err := GoBench(&bytes.Buffer{}, r); err != nil {
			t.Error(err)
		}
		for i := range r.Results {
			for k := range r.Results[i].Figures {
				if f := &r.Results[i].Figures[k]; !f.Summary().Known() {
					t.Errorf("%+v has no summary", f)
				}
			}
		}
	})
}
