package harness

import (
	"bufio"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Metrics are one scrape of /debug/varz: the value by name, followed by the labels in the order
// of the alphabet, whatever order the relay writes them in: `name{kind="x",reason="y"}`.
type Metrics map[string]float64

// Sum adds a metric over all its labels.
func (m Metrics) Sum(name string) float64 {
	var sum float64
	for k, v := range m {
		if k == name || strings.HasPrefix(k, name+"{") {
			sum += v
		}
	}
	return sum
}

// Metrics scrapes the relay.
func (r *Relay) Metrics(t testing.TB) Metrics {
	t.Helper()
	resp, body := r.Get(t, "/debug/varz")
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("/debug/varz: %s", resp.Status)
	}
	return ParseMetrics(body)
}

// ParseMetrics reads Prometheus' text format; what is no sample is passed over.
func ParseMetrics(text string) Metrics {
	m := make(Metrics)
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		line := s.Text()
		cut := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || cut < 0 {
			continue
		}
		if v, err := strconv.ParseFloat(line[cut+1:], 64); err == nil {
			m[inOrder(line[:cut])] = v
		}
	}
	return m
}

// inOrder sorts a sample's labels. No relay has a comma or a brace in a label's value.
func inOrder(sample string) string {
	name, labels, ok := strings.Cut(strings.TrimSuffix(sample, "}"), "{")
	if !ok {
		return sample
	}
	sorted := strings.Split(labels, ",")
	slices.Sort(sorted)
	return name + "{" + strings.Join(sorted, ",") + "}"
}

// WaitMetric scrapes until the metric, summed over its labels, satisfies ok, and returns that
// scrape. It fails the test after ReplyWaitMax.
func (r *Relay) WaitMetric(t testing.TB, name string, ok func(float64) bool) Metrics {
	t.Helper()
	deadline := time.Now().Add(ReplyWaitMax)
	for {
		m := r.Metrics(t)
		if ok(m.Sum(name)) {
			return m
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s stays at %v", name, m.Sum(name))
		}
		time.Sleep(PollEvery)
	}
}

// Is returns a condition for WaitMetric.
func Is(want float64) func(float64) bool { return func(v float64) bool { return v == want } }

// Get fetches a path and returns the response and its body.
func (r *Relay) Get(t testing.TB, path string) (*http.Response, string) {
	t.Helper()
	resp, err := r.HTTP().Get(r.URL(path))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return resp, string(body)
}
