package report

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"derpd/loadgen"
	"derpd/loadgen/plotting"
)

func page1(t *testing.T, r *Report, more ...Section) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, r, more...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPageHasTablesPlotsAndTheVerdict(t *testing.T) {
	r := sample(3)
	r.Memory = []MemoryPoint{{1000, 7_000_000, 5_000_000}, {2000, 13_000_000, 9_000_000}}
	got := page1(t, r, Section{Title: "What this host carries", Charts: []plotting.Chart{
		{Title: "of another room", Series: []plotting.Series{{Points: []plotting.Point{{X: 1, Y: 2}}}}},
		{Title: "of nothing"}}})
	for _, want := range []string{
		`<p class="verdict ok">OK: every packet is accounted for`,
		"<h2>What this host carries</h2>", "<h2>Step 3 of 3: 60,000 packets/s for 30 s</h2>",
		`aria-label="Latency over load"`, `aria-label="Memory over clients"`,
		`aria-label="Throughput over time"`, `aria-label="Distribution of latency"`,
		`aria-label="of another room"`, `<td class="result">= unexplained</td>`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
	// Ramp, another room's, memory, three over load, three for each step.
	if n := strings.Count(got, "<svg "); n != 1+1+1+3+3*3 {
		t.Errorf("%d plots", n)
	}
	if strings.Contains(got, "of nothing") {
		t.Error("a chart without points is on the page")
	}
}

func TestPageLoadsNothing(t *testing.T) {
	got := page1(t, sample(2))
	for _, url := range regexp.MustCompile(`(https?:)?//[^"'<\s]*`).FindAllString(got, -1) {
		if !strings.HasPrefix(url, "http://www.w3.org/") && url != "https://127.0.0.1:3340" {
			t.Errorf("the page has %s", url)
		}
	}
	if m := regexp.MustCompile(`(?i)<(script|link|img|iframe)|\b(src|href)=|url\(|@import`).
		FindString(got); m != "" {
		t.Errorf("the page has %s", m)
	}
}

func TestPageEscapesWhatComesFromOutside(t *testing.T) {
	evil := `</td></svg><script>alert("x")</script>`
	r := sample(2)
	r.Job.Targets[0].Host, r.Command, r.Host, r.Job.Workload.Name = evil, evil, evil, evil
	r.Steps[0].Groups[0].Name, r.Steps[1].Groups[0].Name = evil, evil
	r.Steps[0].Books.Dropped = map[string]uint64{evil: 110}
	r.Steps[0].Notes = map[string]string{evil: evil}
	r.Ramp.Failures.Add(loadgen.FailTLS, 3, evil)
	r.Incidents = []string{evil}
	r.Steps[1].Slack.Limited = evil
	Judge(r)
	got := page1(t, r, Section{Title: evil, Lines: []string{evil}, Charts: []plotting.Chart{
		{Title: evil, Series: []plotting.Series{{Name: evil, Points: []plotting.Point{{X: 1, Y: 2}}}}}}})
	if strings.Contains(got, "<script") {
		t.Error("a script from outside is on the page")
	}
	if n := strings.Count(got, "&lt;script&gt;"); n < 12 {
		t.Errorf("shown %d times as text", n)
	}
}

// A plan of dozens of steps makes no page of hundreds of plots.
func TestPageBoundsItsPlots(t *testing.T) {
	got := page1(t, sample(stepChartsMax+2))
	if n := strings.Count(got, `aria-label="Throughput over time"`); n != stepChartsMax {
		t.Errorf("%d steps have plots", n)
	}
	if !strings.Contains(got, "drawn for the first 12 of 14 steps") {
		t.Error("the page does not say so")
	}
}

// With REPORT_PAGE set, the page is written there to be looked at.
func TestPageToLookAt(t *testing.T) {
	path := os.Getenv("REPORT_PAGE")
	if path == "" {
		t.Skip("REPORT_PAGE is not set")
	}
	r := sample(3)
	r.Memory = []MemoryPoint{{1000, 7_000_000, 5_000_000}, {2000, 13_000_000, 9_000_000}}
	r.Ramp.Failures.Add(loadgen.FailTLS, 3, "x509: certificate is valid for a.example, not b")
	if err := os.WriteFile(path, []byte(page1(t, r)), 0o644); err != nil {
		t.Fatal(err)
	}
}
