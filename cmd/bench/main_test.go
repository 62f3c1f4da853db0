package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"derpd/bench"
	"derpd/bench/scenario"
	"derpd/cmd/internal/commands"
	"derpd/loadgen/host"
)

const (
	exitMisuse  = commands.ExitMisuse
	exitNotDone = commands.ExitNotDone
)

// write makes a report with one figure.
func write(t *testing.T, name, machine string, syscalls float64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	r := &bench.Report{Time: time.Unix(1e9, 0), Scale: "gate", Commit: name, Reference: "derper",
		Machine: host.Machine{Fingerprint: machine}, Peers: []bench.Peer{{Name: "derpd"},
			{Name: "derper"}},
		Results: []bench.Result{{Scenario: "counts-tls", Peer: "derpd", Figures: []bench.Figure{
			{At: "alone", Measure: bench.Syscalls, Samples: []float64{syscalls, syscalls},
				Rounds: []int{1, 2}},
			{At: "alone", Measure: bench.CPU, Load: 1, Samples: []float64{1, 1}, Rounds: []int{1, 2}}}}}}
	if err := bench.Write(path, r); err != nil {
		t.Fatal(err)
	}
	return path
}

// change rewrites a report.
func change(t *testing.T, path string, by func(*bench.Report)) {
	t.Helper()
	r, err := bench.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	by(r)
	if err := bench.Write(path, r); err != nil {
		t.Fatal(err)
	}
}

func TestCommandLine(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	peer := "-peer=a=" + exe
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	old, same, worse := write(t, "old", "m", 3), write(t, "same", "m", 3), write(t, "worse", "m", 4)
	elsewhere := write(t, "elsewhere", "another", 4)
	failed := write(t, "failed", "m", 3)
	change(t, failed, func(r *bench.Report) { r.Results[0].Error = "round 2: gone" })
	damaged := at("damaged")
	if err := os.WriteFile(damaged, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("text"), []byte(`{{value "counts-tls" "alone" "derpd" "syscalls"}}`),
		0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		want   string // somewhere in the output
	}{
		{nil, exitMisuse, "bench run"},
		{[]string{"help"}, 0, "bench compare"},
		{[]string{"dance"}, exitMisuse, `no command "dance"`},
		{[]string{"scenarios"}, 0, "overload-tls-8"},
		{[]string{"scenarios", "x"}, exitMisuse, `"x"`},
		{[]string{"run", "-help"}, 0, "-scale"},
		{[]string{"run"}, exitMisuse, "nothing to measure"},
		{[]string{"run", peer, "more"}, exitMisuse, `"more"`},
		{[]string{"run", "-peer", "x"}, exitMisuse, "want NAME=PATH"},
		{[]string{"run", "-peer", "x="}, exitMisuse, "want NAME=PATH"},
		{[]string{"run", "-peer", "x y=/bin/true"}, exitMisuse, "is no name"},
		{[]string{"run", "-peer", "x=/nowhere/at/all"}, exitMisuse, "/nowhere/at/all"},
		{[]string{"run", peer, peer}, exitMisuse, `name "a" is taken`},
		{[]string{"run", peer, "-scale", "vast"}, exitMisuse, `no scale is named "vast"`},
		{[]string{"run", peer, "-only", "x"}, exitMisuse, `no scenario "x"`},
		{[]string{"run", peer, "-rounds", "-1"}, exitMisuse, "-rounds -1"},
		{[]string{"run", peer, "-noise", "0"}, exitMisuse, "-noise 0"},
		{[]string{"run", peer, "-cpu", "4096"}, exitMisuse, "-cpu 4096"},
		{[]string{"run", peer, "-reference", "b"}, exitMisuse, `"b" is none of the peers`},
		{[]string{"run", peer, "-like", damaged}, exitMisuse, "damaged"},
		{[]string{"report"}, exitMisuse, "want one report"},
		{[]string{"report", damaged}, exitMisuse, "damaged"},
		{[]string{"report", old}, 0, "counts-tls"},
		{[]string{"report", "-md", at("r.md"), "-html", at("r.html"), "-gobench", at("r.txt"), old}, 0,
			""},
		{[]string{"compare", old}, exitMisuse, "want two reports"},
		{[]string{"compare", old, damaged}, exitMisuse, "damaged"},
		{[]string{"compare", old, at("absent")}, exitMisuse, "no such file"},
		{[]string{"compare", old, same}, 0, "2 figures unchanged"},
		{[]string{"compare", "-o", at("c.md"), old, worse}, exitFailed, "REGRESSION: 1 worse"},
		{[]string{"compare", worse, old}, 0, "1 better"},
		{[]string{"compare", old, elsewhere}, exitMisuse, "different machines, m and another"},
		{[]string{"compare", "-force", old, elsewhere}, exitFailed, "REGRESSION"},
		{[]string{"compare", "-counted", old, elsewhere}, exitFailed, "1 worse, 0 figures unchanged"},
		{[]string{"compare", old, failed}, exitFailed, "failed: derpd in counts-tls: round 2: gone"},
		{[]string{"compare", "-most", "derpd/alone/syscalls=5", old, worse}, 0, "2 figures unchanged"},
		{[]string{"compare", "-most", "derpd/alnoe/syscalls=5", old, worse}, exitMisuse,
			"-most derpd/alnoe/syscalls=5 is of no figure of the new report"},
		{[]string{"history", at("h")}, exitMisuse, "-add REPORT or -html FILE"},
		{[]string{"history", "-add", old, "-html", at("h.html"), at("h")}, 0, ""},
		{[]string{"history", "-add", old, at("h")}, exitMisuse, "already"},
		{[]string{"history", "-add", worse, "-peer", "nobody", "-html", at("h.html"), at("h")},
			exitMisuse, "nobody"},
		{[]string{"document", old}, exitMisuse, "-template FILE"},
		{[]string{"document", "-template", at("absent"), "-o", at("d.md"), old}, exitMisuse, "absent"},
		{[]string{"document", "-template", at("text"), "-o", at("d.md"), old}, 0, ""},
		{[]string{"document", "-template", old, "-o", "/nowhere/d.md", old}, exitNotDone, "/nowhere/d.md"},
	} {
		var out bytes.Buffer
		if got := cli.Run(t.Context(), c.args, &out, &out); got != c.status {
			t.Errorf("%q: status %d, want %d\n%s", c.args, got, c.status, &out)
		}
		if !strings.Contains(out.String(), c.want) {
			t.Errorf("%q: no %q in\n%s", c.args, c.want, &out)
		}
	}
	for name, want := range map[string]string{"r.md": "| alone | syscalls | 3 ±0% |",
		"r.html": "<td>syscalls</td>", "r.txt": "BenchmarkRelay/scenario=counts-tls/at=alone/peer=derpd",
		"c.md": "REGRESSION", "h.html": "How derpd moved", "d.md": "3"} {
		if b, err := os.ReadFile(at(name)); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s: %v, no %q in\n%.2000s", name, err, want, b)
		}
	}
}

// TestPeerThatIsNone runs a program that is no relay: its row says so, and the run is made.
func TestPeerThatIsNone(t *testing.T) {
	var out, errs bytes.Buffer
	path := filepath.Join(t.TempDir(), "r.json")
	got := cli.Run(t.Context(), []string{"run", "-scale", "gate", "-only", "counts-tls", "-cpu", "-1",
		"-peer", "a=/bin/echo no relay here", "-o", path}, &out, &errs)
	if got != exitFailed || !strings.Contains(out.String(), "ended by itself") {
		t.Errorf("status %d\n%s\n%s", got, &out, &errs)
	}
	r, err := bench.Read(path)
	if err != nil || !strings.Contains(r.Results[0].Error, "no relay here") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestPeerMarks(t *testing.T) {
	var p peers
	for _, s := range []string{"derper-1=/bin/true -x", "b=plain:/bin/true", "c=no-stun:/bin/true",
		"derper-2=plain:no-stun:/bin/true -y z"} {
		if err := p.Set(s); err != nil {
			t.Fatal(err)
		}
	}
	if p[0].Plain || p[0].NoSTUN || !p[1].Plain || p[1].NoSTUN || p[2].Plain || !p[2].NoSTUN ||
		!p[3].Plain || !p[3].NoSTUN || strings.Join(p[3].Args, ",") != "-y,z" || p[3].Digest == "" {
		t.Errorf("%+v", p)
	}
	if name, err := p.reference(""); name != "derper-2" || err != nil {
		t.Errorf("reference %q, %v", name, err)
	}
	if name, err := p.reference("b"); name != "b" || err != nil {
		t.Errorf("reference %q, %v", name, err)
	}
}

func TestPeersThatAreLeftOut(t *testing.T) {
	var p peers
	for _, s := range []string{"a=io_uring:only=stun,bulk-tls:/bin/true", "b=only=bulk-tls:plain:/bin/true"} {
		if err := p.Set(s); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Join(p[0].Only, " ") != "stun bulk-tls" || !p[0].URing || !p[1].Plain {
		t.Errorf("%+v", p)
	}
	kept, notes := p.possible(errors.New("the kernel says no"))
	if len(kept) != 1 || kept[0].Name != "b" || len(notes) != 1 || notes[0] !=
		"a: left out: the kernel says no" {
		t.Errorf("%+v, %q", kept, notes)
	}
	if kept, notes := p.possible(nil); len(kept) != 2 || len(notes) > 0 {
		t.Errorf("%+v, %q", kept, notes)
	}
	full, err := scenario.Find("full")
	if err != nil || p.check(full) != nil {
		t.Errorf("%v, %v", err, p.check(full))
	}
	quick, err := scenario.Find("quick")
	if err := errors.Join(err, p.check(quick)); err == nil || !strings.Contains(err.Error(), `"stun"`) {
		t.Errorf("%v", err)
	}
}
