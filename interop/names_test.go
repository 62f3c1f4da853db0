package interop

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"derpd/interop/harness"
)

// varsLeft are members of derper's /debug/vars that derpd has not; docs/derper-parity.md says why.
var varsLeft = map[string]bool{"memstats": true}

// TestMetricNames: whatever monitoring reads from derper, by Prometheus or as JSON, it finds at
// derpd under the same name, with traffic and with the flags that bring metrics of their own.
func TestMetricNames(t *testing.T) {
	t.Parallel()
	if harness.Under() != harness.Derpd {
		t.Skip("starts all kinds itself")
	}
	prometheus, vars := namesOf(t, harness.Derpd)
	if len(prometheus) < 100 || len(vars) < 50 {
		t.Fatalf("derpd has only the metrics %v and %v", prometheus, vars)
	}
	kinds := []harness.Kind{harness.Derper}
	if !testing.Short() {
		kinds = append(kinds, harness.DerperNew)
	}
	for _, kind := range kinds {
		theirs, theirVars := namesOf(t, kind)
		t.Logf("%s has %d metrics, %d in JSON", kind, len(theirs), len(theirVars))
		if len(theirs) < 50 || len(theirVars) < 50 {
			t.Errorf("%s has only the metrics %v and %v", kind, theirs, theirVars)
		}
		for _, name := range theirs {
			if !slices.Contains(prometheus, name) {
				t.Errorf("/debug/varz lacks %s, which %s has", name, kind)
			}
		}
		for _, name := range theirVars {
			if !slices.Contains(vars, name) && !varsLeft[name] {
				t.Errorf("/debug/vars lacks %s, which %s has", name, kind)
			}
		}
	}
}

// namesOf starts a relay, has packets delivered and dropped, and returns the names of its metrics.
func namesOf(t *testing.T, kind harness.Kind) (prometheus, vars []string) {
	t.Helper()
	rates := filepath.Join(t.TempDir(), "rates.json")
	limits := `{"PerClientRateLimitBytesPerSec":1000000,"PerClientRateBurstBytes":70000}`
	if err := os.WriteFile(rates, []byte(limits), 0o600); err != nil {
		t.Fatal(err)
	}
	r := harness.Start(t, harness.Options{Kind: kind, TLS: true,
		Args: []string{"-rate-config", rates}})
	a, b := r.Login(t), r.Login(t)
	hear(t, a, b)
	a.SendTo(t, a.Key, harness.Disco(100))
	a.WantPacket(t, a.Key, harness.Disco(100))
	b.Close()
	a.Next(t) // PeerGone
	a.SendTo(t, b.Key, []byte("nobody is there"))
	a.Ping(t)
	_, body := r.Get(t, "/debug/vars")
	return metricNames(r.Metrics(t)), members(t, body)
}

// metricNames returns the names in a scrape, each once.
func metricNames(m harness.Metrics) []string {
	names := map[string]bool{}
	for sample := range m {
		name, _, _ := strings.Cut(sample, "{")
		names[name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// members returns the names in the JSON of /debug/vars, those of derper's sets by their path.
func members(t *testing.T, body string) (names []string) {
	t.Helper()
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		t.Fatalf("/debug/vars: %v", err)
	}
	for name, value := range all {
		names = append(names, name)
		if !slices.Contains([]string{"derp", "stun", "tls_listener"}, name) {
			continue
		}
		var set map[string]json.RawMessage
		if err := json.Unmarshal(value, &set); err != nil {
			t.Fatalf("/debug/vars: %s: %v", name, err)
		}
		for member := range set {
			names = append(names, name+"."+member)
		}
	}
	slices.Sort(names)
	return names
}
