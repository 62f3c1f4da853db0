package httpd

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
)

// setMutexProfile sets which share of contended locks is recorded for /debug/pprof/mutex. The
// header keeps web pages of others from doing it.
func setMutexProfile(w http.ResponseWriter, r *http.Request) {
	rate := r.URL.Query().Get("rate")
	if rate == "" || r.Header.Get("Sec-Debug") != "derp" {
		http.Error(w, "to record one contended lock in a hundred: curl -H 'Sec-Debug: derp' "+
			"'http://localhost/debug/set-mutex-profile-fraction?rate=100' (0 is off)",
			http.StatusBadRequest)
		return
	}
	n, err := strconv.Atoi(rate)
	if err != nil {
		http.Error(w, fmt.Sprintf("bad rate %q: use a number", rate), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "mutex changed from %d to %d\n", runtime.SetMutexProfileFraction(n), n)
}

const runtimeMetricsPath = "/debug/runtime-metrics"

// runtimeMetrics shows the metrics of Go's runtime: without anything all of them as text, with
// ?name= (often, and with * at the end for a prefix) those as a JSON object, and with a name
// behind the path the bare value, as derper does.
func runtimeMetrics(w http.ResponseWriter, r *http.Request) {
	if name := strings.TrimPrefix(r.URL.Path, runtimeMetricsPath); name != "" && name != "/" {
		values, unknown := readRuntime([]string{name})
		if unknown != "" {
			http.Error(w, fmt.Sprintf("unknown runtime metric %q", unknown), http.StatusNotFound)
			return
		}
		writeJSON(w, values[name])
		return
	}
	if names := r.URL.Query()["name"]; len(names) > 0 {
		values, unknown := readRuntime(names)
		if unknown != "" {
			http.Error(w, fmt.Sprintf("unknown runtime metric %q", unknown), http.StatusNotFound)
			return
		}
		writeJSON(w, values)
		return
	}
	values, _ := readRuntime([]string{"*"})
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out := bufio.NewWriter(w)
	defer out.Flush()
	for _, d := range metrics.All() {
		fmt.Fprintf(out, "# %s\n%s %s\n", d.Description, d.Name, runtimeText(values[d.Name]))
	}
}

// readRuntime reads the metrics that names ask for. unknown is a name that does not exist.
func readRuntime(names []string) (values map[string]any, unknown string) {
	var samples []metrics.Sample
	for _, name := range names {
		prefix, open := strings.CutSuffix(name, "*")
		found := open
		for _, d := range metrics.All() {
			if d.Name == name || open && strings.HasPrefix(d.Name, prefix) {
				samples = append(samples, metrics.Sample{Name: d.Name})
				found = true
			}
		}
		if !found {
			return nil, name
		}
	}
	if len(samples) > 0 { // metrics.Read panics without any
		metrics.Read(samples)
	}
	values = make(map[string]any, len(samples))
	for _, s := range samples {
		values[s.Name] = runtimeValue(s.Value)
	}
	return values, ""
}

// histogram is a runtime histogram as derper writes it: one more bucket border than counts.
type histogram struct {
	Counts  []uint64 `json:"counts"`
	Buckets []any    `json:"buckets"`
}

func runtimeValue(v metrics.Value) any {
	switch v.Kind() {
	case metrics.KindUint64:
		return v.Uint64()
	case metrics.KindFloat64:
		return jsonFloat(v.Float64())
	case metrics.KindFloat64Histogram:
		h := v.Float64Histogram()
		buckets := make([]any, len(h.Buckets))
		for i, b := range h.Buckets {
			buckets[i] = jsonFloat(b)
		}
		return histogram{h.Counts, buckets}
	}
	return nil
}

// jsonFloat gives what JSON has no number for as text.
func jsonFloat(f float64) any {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return f
}

// runtimeText is a value on one line; of a histogram the buckets that have something in them,
// as lower border:count.
func runtimeText(v any) string {
	h, ok := v.(histogram)
	if !ok {
		return fmt.Sprint(v)
	}
	parts := []string{"histogram"}
	for i, n := range h.Counts {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%v:%d", h.Buckets[i], n))
		}
	}
	return strings.Join(parts, " ")
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	e := json.NewEncoder(w)
	e.SetIndent("", "\t")
	e.Encode(v)
}
