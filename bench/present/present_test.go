package present

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"derpd/bench"
	"derpd/bench/scenario"
	"derpd/loadgen/host"
)

// sample has derpd at half of derper's processor time and twice its p99.
func sample() *bench.Report {
	figure := func(at, measure string, load float64, samples ...float64) bench.Figure {
		f := bench.Figure{At: at, Measure: measure, Load: load, Samples: samples}
		for i := range samples {
			f.Rounds = append(f.Rounds, i+1)
		}
		return f
	}
	figures := func(cpu, p99, good float64) []bench.Figure {
		return []bench.Figure{figure("20k", bench.P99, 20e3, p99, p99, p99),
			figure("20k", bench.CPU, 20e3, cpu*.9, cpu, cpu*1.1), figure("60k", bench.CPU, 60e3, cpu/2),
			figure("2x", bench.Goodput, 0, good), figure("10x", bench.Goodput, 0, good/2)}
	}
	r := &bench.Report{Time: time.Unix(1e9, 0), Command: "bench run <all>", Scale: "full",
		Reference: "derper", KneeTLS: 82000, Notes: []string{"derpd: system calls: not available"},
		Machine: host.Machine{CPU: "Some CPU", CPUs: 2, Fingerprint: "this | machine"},
		Peers: []bench.Peer{{Name: "derpd", Path: "/x/y/bin/derpd", Args: []string{"-engine", "epoll"}},
			{Name: "derper", Path: "/x/bin/derper"}, {Name: "floor", Path: "floor", Plain: true,
				NoSTUN: true}},
		Results: []bench.Result{
			{Scenario: "bulk-tls", Peer: "derpd", Figures: figures(5, 2000, 1)},
			{Scenario: "bulk-tls", Peer: "derper", Figures: figures(10, 1000, .5)},
			{Scenario: "bulk-tls", Peer: "floor", Error: "round 1: it ended\n  [status 2]"},
		}}
	r.Results[0].Figures[0].Limited = "its loops worked"
	return r
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	if err := Text(&b, sample()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"20k  cpu      5 µs ±10%   0.5×  10 µs ±10%", "2 ms ±0%*     2×",
		"60k  cpu           2.5 µs", "floor: round 1: it ended ¶ [status 2]", "82,000 packets",
		"* derpd: the generator was the limit: its loops worked", "not available",
		"Some rows failed or lack figures: floor in bulk-tls.", "10 pairs, packets of 1400 bytes",
		"plain TCP in every scenario"} {
		if !strings.Contains(strings.Join(strings.Fields(b.String()), " "),
			strings.Join(strings.Fields(want), " ")) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
}

// TestVerdicts: a row may have no figures though nothing failed, and a peer may have no row.
func TestVerdicts(t *testing.T) {
	for want, change := range map[string]func(r *bench.Report){
		"Every peer has figures of every scenario that it is in.": func(r *bench.Report) {
			r.Results = r.Results[:2]
		},
		"Nothing failed. Some rows have no figures: floor in bulk-tls.": func(r *bench.Report) {
			r.Results[2].Error = ""
		},
		"Nothing was measured.": func(r *bench.Report) { r.Results = nil },
		"Interrupted: what is here was measured, and the rest was not.": func(r *bench.Report) {
			r.Partial = true
		},
	} {
		r := sample()
		change(r)
		if got := newPage(r).Verdict; got != want {
			t.Errorf("the verdict is %q, want %q", got, want)
		}
	}
}

func TestPageAndMarkdown(t *testing.T) {
	r := sample()
	var page, md bytes.Buffer
	if err := HTML(&page, r); err != nil {
		t.Fatal(err)
	}
	if s := page.String(); strings.Count(s, "<svg") != 2 || !strings.Contains(s, "bench run &lt;all&gt;") ||
		strings.Contains(s, "http://") && strings.Contains(s, "<script") {
		t.Errorf("%d plots in\n%.3000s", strings.Count(s, "<svg"), s)
	}
	drawn := map[string]string{}
	err := Markdown(&md, r, func(name string, svg []byte) (string, error) {
		drawn[name] = string(svg)
		return "plots/" + name, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| 20k | cpu | 5 µs ±10% | 0.5× | 10 µs ±10% |",
		"(plots/bulk-tls-cpu-a-packet-over-load.svg)", "bench run &lt;all&gt;", `±0%\*`} {
		if !strings.Contains(md.String(), want) {
			t.Errorf("no %q in\n%s", want, &md)
		}
	}
	if len(drawn) != 2 || !strings.Contains(drawn["bulk-tls-cpu-a-packet-over-load.svg"],
		`style="background:#fff"`) {
		t.Errorf("%d plots", len(drawn))
	}
	full := errors.New("disk full")
	if err := Markdown(&md, r, func(string, []byte) (string, error) { return "", full }); err != full {
		t.Errorf("a plot that cannot be written: %v", err)
	}
}

func TestDocument(t *testing.T) {
	text := `On {{date}}, {{machine}}: {{value "bulk-tls" "20k" "derpd" "cpu"}}, ` +
		`{{ratio "bulk-tls" "20k" "derpd" "cpu"}} of {{knee}}; lost:
{{losses "derpd"}}
{{peers}}
{{table "bulk-tls"}}`
	var b bytes.Buffer
	if err := Document(&b, text, sample(), nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`On 2001-09-09, this \| machine: 5 µs, 0.5× of 82,000; lost:`,
		`- bulk-tls 20k p99: 2 ms ±0%\*, derper 1 ms ±0% (2×)`, "- derpd, with -engine epoll",
		"    bin/bench run -scale full -only bulk-tls -peer 'derpd=bin/derpd -engine epoll' " +
			"-peer derper=bin/derper -peer floor=plain:no-stun:floor\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
	for _, better := range []string{"- bulk-tls 20k cpu", "- bulk-tls 2x goodput"} {
		if strings.Contains(b.String(), better) {
			t.Errorf("%s is better and is told as lost", better)
		}
	}
	alike := sample()
	for i, samples := range [][]float64{{2000, 1000, 3000}, {900, 2000, 2900}} {
		res := &alike.Results[i]
		res.Figures = append(res.Figures, bench.Figure{At: "40k", Measure: bench.P99, Load: 40e3,
			Samples: samples, Rounds: []int{1, 2, 3}})
	}
	b.Reset()
	if err := Document(&b, `{{losses "derpd"}}`, alike, nil); err != nil ||
		strings.Contains(b.String(), "40k") {
		t.Errorf("%v, what prints alike is told as lost: %s", err, &b)
	}
	latency := sample()
	for i := range latency.Results {
		latency.Results[i].Scenario = "latency-tls"
	}
	b.Reset()
	if err := Document(&b, `{{table "latency-tls"}}`, latency, nil); err != nil ||
		!strings.Contains(b.String(), "-only knee-tls,latency-tls -peer") {
		t.Errorf("%v, %s", err, &b)
	}
	for _, text := range []string{`{{table "x"}}`, `{{value "bulk-tls" "20k" "derpd" "stun"}}`,
		`{{losses "x"}}`, `{{ratio "bulk-tls" "x" "derpd" "cpu"}}`, `{{`, `{{x}}`} {
		if err := Document(&b, text, sample(), nil); err == nil {
			t.Errorf("%s passes", text)
		}
	}
}

func TestScenarios(t *testing.T) {
	var b bytes.Buffer
	if err := Scenarios(&b, scenario.Scales()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Scale quick", "knee-tls, 2 rounds", "syscalls/packet"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
}
