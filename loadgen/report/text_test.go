package report

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"derpd/loadgen"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file of testdata, which was read by a person when it was written.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s; run with -update and read the difference. Got:\n%s", path, got)
	}
}

func text(t *testing.T, r *Report, more ...Section) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Text(&b, r, more...); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > textColumnsMax {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	return b.Bytes()
}

func TestTextOfARun(t *testing.T) { golden(t, "run.txt", text(t, sample(1))) }

func TestTextOfAFailedRun(t *testing.T) {
	r := sample(2)
	r.Incidents = []string{"the relay (process 4242) died 12 s into step 2"}
	r.Ramp.Failures.Add(loadgen.FailTimeout, 3, "no answer within 10 s")
	r.Ramp.Failures.Add(loadgen.FailRefused, 1, "connect: connection refused")
	r.Ramp.Clients -= 4
	r.Steps[1].Books.Delivered -= 7
	r.Steps[1].Slack.Limited = "its loops were idle 1 % of the time"
	r.Steps[1].Answered = 1990
	r.Steps[1].Wrong.Order = 5
	r.Partial = true
	Judge(r)
	golden(t, "failed.txt", text(t, r))
}

func TestTextOfAPlan(t *testing.T) {
	r := sample(4)
	r.Kind = Plan
	r.Memory = []MemoryPoint{{1000, 7_000_000, 5_000_000}, {2000, 13_000_000, 0}}
	golden(t, "plan.txt", text(t, r, Section{Title: "What this host carries",
		Lines:  []string{"80,000 packets a second at a p99 of 5 ms."},
		Tables: []Table{{Head: []string{"limit", "value"}, Rows: [][]string{{"knee", "80,000"}}}}}))
}

func TestTextWhereLittleIsKnown(t *testing.T) {
	golden(t, "little.txt", text(t, &Report{Kind: Run, Error: "no such host: derp.invalid"}))
	r := &Report{Kind: Run, Steps: []*loadgen.StepResult{{}}}
	Judge(r)
	golden(t, "empty.txt", text(t, r))
}

// Names and errors of peers reach a terminal only as text.
func TestTextIsCleanOfWhatATerminalObeys(t *testing.T) {
	r := sample(1)
	evil := "\x1b[2J\r\x9b31m\u202ecod.exe\n" + strings.Repeat("long ", 60)
	r.Job.Targets[0].Host, r.Command, r.Host, r.Job.Workload.Name = evil, evil, evil, evil
	r.Steps[0].Groups[0].Name = evil
	r.Steps[0].Books.Dropped = map[string]uint64{evil: 110}
	r.Steps[0].Notes = map[string]string{evil: evil}
	r.Ramp.Failures.Add(loadgen.FailTLS, 3, evil)
	r.Incidents = []string{evil}
	Judge(r)
	got := string(text(t, r, Section{Title: evil, Lines: []string{evil}}))
	if i := strings.IndexAny(got, "\x1b\r\u009b\u202e"); i >= 0 {
		t.Errorf("%q reached the terminal", got[i:min(i+20, len(got))])
	}
	if !strings.Contains(got, "tls: 3, such as: ") {
		t.Error("the failure has no line of its own")
	}
}
