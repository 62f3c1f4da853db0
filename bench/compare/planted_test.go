//go:build planted

package compare

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"derpd/bench"
)

// builds are derpd as it is, derpd with a sleep of 100 µs in the flush, and bench.
type builds struct{ dir, good, slow, tool string }

func buildAll(t *testing.T) *builds {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv("BENCH_KEEP")
	if dir == "" {
		dir = t.TempDir()
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b := &builds{dir, filepath.Join(dir, "good"), filepath.Join(dir, "slow"), filepath.Join(dir, "bench")}
	build := func(out, pkg string, flags ...string) {
		t.Helper()
		cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", out, pkg)...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, b)
		}
	}
	build(b.good, "./cmd/derpd")
	build(b.slow, "./cmd/derpd", "-overlay", overlay(t, root, dir))
	build(b.tool, "./cmd/bench")
	return b
}

// measure runs scenarios of scale quick.
func (b *builds) measure(t *testing.T, name, binary, only string, flags ...string) *bench.Report {
	t.Helper()
	out := filepath.Join(b.dir, name+".json")
	cmd := exec.Command(b.tool, append([]string{"run", "-scale", "quick", "-only", only, "-noise",
		noise(), "-peer", "derpd=" + binary, "-o", out}, flags...)...)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, b)
	}
	r, err := bench.Read(out)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPlanted proves that a comparison flags a sleep of 100 µs in the flush, and that a third run, of
// the first build again, is unchanged. It measures for some minutes on a machine that has to be quiet.
func TestPlanted(t *testing.T) {
	b := buildAll(t)
	measure := func(name, binary string) *bench.Report {
		return b.measure(t, name, binary, "bulk-tls", "-rounds", "5")
	}
	first, planted, again := measure("first", b.good), measure("planted", b.slow), measure("again", b.good)
	flagged, err := Reports(first, planted, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(flagged.Worse()) == 0 {
		t.Error("a sleep of 100 µs in the flush is not flagged")
	}
	show(t, "with the sleep", flagged)
	same, err := Reports(first, again, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(same.with(Worse)) + len(same.with(Better)); n > 0 {
		t.Errorf("%d figures of one build differ in two runs", n)
	}
	show(t, "the same build", same)
}

// TestStable runs one build again and again and compares each run with the one before: BENCH_PAIRS of
// them, of the scenarios BENCH_ONLY (all of scale quick), with BENCH_PEERS more flags, such as "-peer
// derper=bin/derper". It prints which figures changed, and the largest change of each class, from which
// thresholds follow; and fails if more than a tenth of the pairs differ. After each it measures the
// build with the sleep, which must be flagged every time. Reports stay in BENCH_KEEP, if that is set.
func TestStable(t *testing.T) {
	pairs, err := strconv.Atoi(cmp.Or(os.Getenv("BENCH_PAIRS"), "10"))
	if err != nil || pairs < 1 {
		t.Fatalf("BENCH_PAIRS=%q is no number above 0", os.Getenv("BENCH_PAIRS"))
	}
	const sleeping = "bulk-tls" // where the build with the sleep is measured
	only := cmp.Or(os.Getenv("BENCH_ONLY"), sleeping+",chatter-tls,idle-tls,overload-tls-8")
	flags := strings.Fields(os.Getenv("BENCH_PEERS"))
	b := buildAll(t)
	type change struct {
		relative, absolute float64
		text               string
	}
	largest, changed := map[bench.Class]change{}, 0
	before := b.measure(t, "run-0", b.good, only, flags...)
	for pair := 1; pair <= pairs; pair++ {
		now := b.measure(t, fmt.Sprintf("run-%d", pair), b.good, only, flags...)
		r, err := Reports(before, now, Options{})
		if err != nil {
			t.Fatal(err)
		}
		moved := append(r.with(Worse), r.with(Better)...)
		if len(moved) > 0 {
			changed++
		}
		t.Logf("pair %d: %d of %d figures changed", pair, len(moved), len(r.Changes))
		for _, c := range moved {
			t.Logf("  %s", line(c))
		}
		for _, c := range r.Changes {
			by := math.Abs(math.Log(c.Ratio))
			if by > largest[c.Measure.Class].relative && !math.IsInf(by, 0) {
				largest[c.Measure.Class] = change{by, math.Abs(c.New.Median - c.Old.Median), line(c)}
			}
		}
		before = now
		r, err = Reports(now, b.measure(t, "planted", b.slow, sleeping), Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("  with the sleep: %d worse", len(r.Worse()))
		if len(r.Worse()) == 0 {
			t.Errorf("pair %d: a sleep of 100 µs in the flush is not flagged", pair)
		}
	}
	for _, class := range slices.Sorted(maps.Keys(largest)) {
		c := largest[class]
		t.Logf("%s: by %.0f %% or %.3g at most, and %+v is allowed: %s", class,
			100*(math.Exp(c.relative)-1), c.absolute, Thresholds[class], c.text)
	}
	t.Logf("%d of %d pairs differ", changed, pairs)
	if changed*10 > pairs {
		t.Errorf("%d of %d pairs of runs of one build differ", changed, pairs)
	}
}

func line(c Change) string {
	return fmt.Sprintf("%s %s %s %s: %s, then %s", c.Scenario, c.At, c.Peer, c.Measure.Name,
		figure(c.Measure, c.Old), figure(c.Measure, c.New))
}

// noise is BENCH_NOISE, for a machine that is never quiet, or what bench allows.
func noise() string {
	if v := os.Getenv("BENCH_NOISE"); v != "" {
		return v
	}
	return "0.05"
}

func show(t *testing.T, what string, r *Result) {
	t.Helper()
	var b strings.Builder
	if err := r.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s:\n%s", what, b.String())
}

// overlay makes a copy of the relay's flush that sleeps first, for go build -overlay: the product
// holds nothing of it.
func overlay(t *testing.T, root, dir string) string {
	t.Helper()
	const head, imports = "func (l *loop) flush(c *conn) {\n", "import (\n"
	source := filepath.Join(root, "relay", "flush.go")
	b, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(b), head) != 1 || strings.Count(string(b), imports) != 1 {
		t.Fatalf("%s has no %q or no %q: plant the sleep elsewhere", source, head, imports)
	}
	text := strings.Replace(string(b), head, head+"\tplantedtime.Sleep(100 * plantedtime.Microsecond)\n",
		1)
	text = strings.Replace(text, imports, imports+"\tplantedtime \"time\"\n", 1)
	copied, list := filepath.Join(dir, "flush.txt"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err = json.Marshal(map[string]map[string]string{"Replace": {source: copied}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return list
}
