package derpd_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// resultsDir is where `.ci/gotest` keeps the verdicts on tests, a folder for each kind of run.
const resultsDir = ".bin/results"

// verdict is one line of a file there.
type verdict struct {
	Action, Package, Test string
	Peer                  string // the relay that was tested, if it was another's
}

// TestParityPassed: every test that a row names has passed in this run. Passed means that it ran
// to its end at least once against derpd, and never failed: what was skipped, or has passed only
// against derper, has not. Part of `make interop`, for the rows' tests there, and of `.ci/run`.
func TestParityPassed(t *testing.T) {
	runs := strings.Fields(os.Getenv("PARITY_RUNS"))
	if len(runs) == 0 {
		t.Skip("looks at what other tests have left: .ci/parity, after make test or make interop")
	}
	passed, failed := verdicts(t, runs)
	if problems := unproven(parityRows(t), passed, failed, !slices.Contains(runs, "test")); len(problems) > 0 {
		t.Errorf("rows of %s without a test that passed:\n%s", parityFile,
			strings.Join(problems, "\n"))
	}
}

// verdicts reads what the runs have left, as "folder: test".
func verdicts(t *testing.T, runs []string) (passed, failed map[string]bool) {
	t.Helper()
	passed, failed = map[string]bool{}, map[string]bool{}
	for _, run := range runs {
		names, err := filepath.Glob(filepath.Join(resultsDir, run, "*.json"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s/%s holds no results (%v): make %s leaves them there", resultsDir, run, err,
				run)
		}
		for _, name := range names {
			for line := range strings.Lines(read(t, name)) {
				var v verdict
				if err := json.Unmarshal([]byte(line), &v); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				note(v, passed, failed)
			}
		}
	}
	return passed, failed
}

// note sorts a verdict in.
func note(v verdict, passed, failed map[string]bool) {
	folder, ours := strings.CutPrefix(v.Package, "derpd/")
	if !ours {
		folder = "." // the module's own folder
	}
	switch id := folder + ": " + v.Test; {
	case v.Action == "fail":
		failed[id] = true
	case v.Action == "pass" && v.Peer == "":
		passed[id] = true
	}
}

// unproven says which rows name a test that has not passed; with outside only of those tests
// that look at the relay from outside.
func unproven(rows []parityRow, passed, failed map[string]bool, outside bool) (problems []string) {
	for _, r := range rows {
		tests := parityTests(r.test)
		for _, folder := range slices.Sorted(maps.Keys(tests)) {
			if outside && !within(folder, "interop") {
				continue
			}
			for _, name := range tests[folder] {
				id := folder + ": " + name
				if failed[id] || !passed[id] {
					problems = append(problems, r.name+": "+id)
				}
			}
		}
	}
	return problems
}

// TestParityCheckSees: a test that failed, was skipped, or passed against derper only, is found.
func TestParityCheckSees(t *testing.T) {
	passed, failed := map[string]bool{}, map[string]bool{}
	for _, v := range []verdict{
		{"pass", "derpd/relay", "TestGood", ""},
		{"pass", "derpd/relay", "TestUnsteady", ""},
		{"fail", "derpd/relay", "TestUnsteady", ""},
		{"skip", "derpd/interop", "TestSkipped", ""},
		{"pass", "derpd/interop", "TestTheirs", "derper"},
		{"pass", "derpd/interop", "TestOurs", ""},
		{"skip", "derpd/interop", "TestOurs", "derper"},
		{"pass", "derpd", "TestRoot", ""},
	} {
		note(v, passed, failed)
	}
	rows := []parityRow{{name: "a", test: "relay: TestGood, TestUnsteady; .: TestRoot"},
		{name: "b", test: "interop: TestSkipped, TestTheirs, TestOurs"},
		{name: "c", test: "interop: TestNeverRun"}, {name: "d", test: "–"}}
	want := []string{"a: relay: TestUnsteady", "b: interop: TestSkipped", "b: interop: TestTheirs",
		"c: interop: TestNeverRun"}
	if got := unproven(rows, passed, failed, false); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	if got := unproven(rows, passed, failed, true); !slices.Equal(got, want[1:]) {
		t.Errorf("from outside found %q, want %q", got, want[1:])
	}
}
