package history

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"derpd/bench"
	"derpd/loadgen/host"
)

func run(day int, machine string, cpu float64) *bench.Report {
	at := time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC)
	return &bench.Report{Time: at, Commit: "c" + at.Format("02"), Scale: "quick",
		Machine: host.Machine{Fingerprint: machine}, Peers: []bench.Peer{{Name: "derpd"}},
		Results: []bench.Result{{Scenario: "bulk", Peer: "derpd", Figures: []bench.Figure{
			{At: "20k", Measure: bench.CPU, Samples: []float64{cpu, cpu, 100}, Rounds: []int{1, 2, 3}},
			{Measure: bench.IdleMemory, Samples: []float64{0}, Rounds: []int{1}}}}}}
}

func TestHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.jsonl")
	for i, r := range []*bench.Report{run(1, "m", 12.34567), run(3, "m", 9), run(2, "m", 10),
		run(2, "another", 500)} {
		if r.Machine.Fingerprint == "another" {
			r.Commit = "elsewhere"
		}
		if err := Add(path, r); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if err := Add(path, run(3, "m", 9)); err == nil || !strings.Contains(err.Error(), "c03") {
		t.Errorf("a report is added twice: %v", err)
	}
	lines, err := Read(path)
	if err != nil || len(lines) != 4 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	if got := lines[0].Figures[Key("bulk", "20k", "derpd", bench.CPU)]; got != 12.35 {
		t.Errorf("the median is %v", got)
	}
	p, err := Page(lines, "derpd")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := p.HTML(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"3 runs of scale quick on m; 1 of others", "How derpd moved", "c03",
		"cpu-us/packet"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in the page", want)
		}
	}
	points := p.Sections[1].Charts[0].Series[0].Points
	if len(points) != 3 || points[0].Y != 12.35 || points[1].Y != 10 || points[2].Y != 9 {
		t.Errorf("in the order of time: %v", points)
	}
	if _, err := Page(lines, "nobody"); err == nil {
		t.Error("a page of nobody")
	}
	if _, err := Page(nil, "derpd"); err == nil {
		t.Error("a page of nothing")
	}
}

func TestReadRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.jsonl")
	good := `{"time":"2026-01-01T00:00:00Z","commit":"c","figures":{"a/b/c/d":1}}` + "\n"
	for text, want := range map[string]string{
		good + "{":                   "line 2 is damaged",
		good + `{"figures":{"x":1}}`: `"x" is no figure`,
		good + strings.Repeat("x", lineBytesMax+1): "line 2 has more than",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), path) {
			t.Errorf("%.80s: %v, want %q", text, err, want)
		}
		if err := Add(path, run(1, "m", 1)); err == nil {
			t.Error("a damaged file grows")
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-01T00:00:00Z","commit":"c","figures":{"a/b/derpd/cpu":1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		lines, err := decode(bytes.NewReader(b))
		if err != nil {
			return
		}
		if p, err := Page(lines, "derpd"); err == nil {
			if err := p.HTML(&bytes.Buffer{}); err != nil {
				t.Error(err)
			}
		}
	})
}
