//go:build planted

package compare

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"derpd/bench"
)

// TestPlanted builds derpd twice, once with a sleep of 100 µs in the flush, and proves that a
// comparison flags it; and that a third run, of the first build again, is unchanged. It measures for
// some minutes on a machine that has to be quiet.
func TestPlanted(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	good, slow, tool := filepath.Join(dir, "good"), filepath.Join(dir, "slow"),
		filepath.Join(dir, "bench")
	build := func(out, pkg string, flags ...string) {
		t.Helper()
		cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", out, pkg)...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, b)
		}
	}
	build(good, "./cmd/derpd")
	build(slow, "./cmd/derpd", "-overlay", overlay(t, root, dir))
	build(tool, "./cmd/bench")
	measure := func(name, binary string) *bench.Report {
		t.Helper()
		out := filepath.Join(dir, name+".json")
		cmd := exec.Command(tool, "run", "-scale", "quick", "-only", "bulk-tls", "-rounds", "5",
			"-noise", noise(), "-peer", "derpd="+binary, "-o", out)
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, b)
		}
		r, err := bench.Read(out)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, planted, again := measure("first", good), measure("planted", slow), measure("again", good)
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
	copied, list := filepath.Join(dir, "flush.go"), filepath.Join(dir, "overlay.json")
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
