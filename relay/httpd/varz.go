package httpd

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"sort"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// collector gives a snapshot of the relay to Prometheus.
type collector struct{ cfg Config }

// Describe implements prometheus.Collector; the collector is unchecked, since the families
// come from tables.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.cfg.Snapshot()
	send := func(name, help string, gauge bool, v float64, labels ...label) {
		kind := prometheus.CounterValue
		if gauge {
			kind = prometheus.GaugeValue
		}
		names := make([]string, len(labels))
		values := make([]string, len(labels))
		for i, l := range labels {
			names[i], values[i] = l.name, l.value
		}
		desc := prometheus.NewDesc(name, help, names, nil)
		out <- prometheus.MustNewConstMetric(desc, kind, v, values...)
	}
	for _, m := range derpMetrics {
		send("derp_"+m.name, m.help, m.gauge, float64(m.value(&s)))
	}
	one := func(family string, gauge bool, v float64, labels ...label) {
		send(family, familyHelp[family], gauge, v, labels...)
	}
	for _, f := range append(families(&s), stunFamilies(c.cfg)...) {
		one(f.family, f.gauge, float64(f.value), f.labels...)
	}
	one("process_start_unix_time", true, float64(started.Unix()))
	one("uptime_sec", false, time.Since(started).Seconds())
	one("goroutines", true, float64(runtime.NumGoroutine()))
	one("version", true, 1, label{"version", c.cfg.Version})
	one("go_version", true, 1, label{"version", runtime.Version()})
}

// writeVars writes the JSON of derper's /debug/vars: the set "derp" with its type prefixes,
// labelled families as objects, and the process.
func writeVars(w http.ResponseWriter, c Config) {
	s := c.Snapshot()
	derp := map[string]any{"version": c.Version}
	for _, m := range derpMetrics {
		name := m.name
		switch {
		case m.gauge:
			name = "gauge_" + name
		case name == "total_dup_client_conns":
			name = "counter_" + name
		}
		derp[name] = m.value(&s)
	}
	byKind := map[string]uint64{}
	for k, kind := range kinds {
		byKind[kind] = s.PacketsReceived[k]
	}
	derp["counter_packets_received_kind"] = byKind
	vars := map[string]any{
		"derp":               derp,
		"cmdline":            os.Args,
		"counter_uptime_sec": int64(time.Since(started).Seconds()),
		"gauge_goroutines":   runtime.NumGoroutine(),
		"go_version":         runtime.Version(),
	}
	for _, f := range append(families(&s), stunFamilies(c)...) {
		if f.family == "derp_packets_received_kind" {
			continue
		}
		set, _ := vars[f.family].(map[string]uint64)
		if set == nil {
			set = map[string]uint64{}
			vars[f.family] = set
		}
		set[labelText(f.labels)] = f.value
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	writeSorted(w, vars)
}

// labelText joins a family's labels as a key: the value alone if there is one, otherwise
// name=value pairs.
func labelText(labels []label) (s string) {
	if len(labels) == 1 {
		return labels[0].value
	}
	for i, l := range labels {
		if i > 0 {
			s += ","
		}
		s += l.name + "=" + l.value
	}
	return s
}

// writeSorted writes one line per variable, as expvar does.
func writeSorted(w io.Writer, vars map[string]any) {
	names := make([]string, 0, len(vars))
	for name := range vars {
		names = append(names, name)
	}
	sort.Strings(names)
	fmt.Fprint(w, "{\n")
	for i, name := range names {
		if i > 0 {
			fmt.Fprint(w, ",\n")
		}
		value, err := json.Marshal(vars[name])
		if err != nil {
			value = []byte("null")
		}
		fmt.Fprintf(w, "%q: %s", name, value)
	}
	fmt.Fprint(w, "\n}\n")
}
