package httpd

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"sort"
	"strings"
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
	for _, f := range families(&s) {
		send(f.family, familyHelp[f.family], f.gauge, float64(f.value), f.labels...)
	}
	for _, f := range serviceFamilies(c.cfg, &s) {
		send(f.family, serviceHelp[f.family], f.gauge, float64(f.value), f.labels...)
	}
	for _, d := range distributions {
		out <- d.metric(&s)
	}
	send("derp_"+queueWaitName, "Milliseconds that packets waited to be sent, moving average.",
		true, s.QueueWait.Mean)
	for _, n := range processNumbers() {
		send(n.name, n.help, n.gauge, n.value)
	}
	for _, m := range runtimeFamilies() {
		out <- m
	}
	send("version", familyHelp["version"], true, 1, label{"version", c.cfg.Version},
		label{"binary", "derpd"})
	send("go_version", familyHelp["go_version"], true, 1, label{"version", runtime.Version()})
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
	for _, d := range distributions {
		derp["counter_"+d.name] = d.vars(&s)
	}
	derp[queueWaitName] = s.QueueWait.Mean
	vars := map[string]any{
		"derp":                    derp,
		"cmdline":                 os.Args,
		"counter_uptime_sec":      int64(time.Since(started).Seconds()),
		"process_start_unix_time": started.Unix(),
		"gauge_goroutines":        runtime.NumGoroutine(),
		"go_version":              runtime.Version(),
		"version":                 c.Version,
	}
	for _, n := range processNumbers() {
		if n.name == mutexWaitName {
			vars[n.name] = n.value
		}
	}
	if levels, ok := amd64Levels(); ok {
		vars["gauge_goamd64_capable"], vars["gauge_goamd64_compiled"] = levels[0], levels[1]
	}
	if boot := bootTime(); boot > 0 {
		vars["node_boot_time_seconds"] = boot
	}
	for _, f := range append(families(&s), serviceFamilies(c, &s)...) {
		set, name := vars, f.family
		for family, path := range varsNames {
			if rest, ok := strings.CutPrefix(name, family); ok {
				if path.set != "" {
					inner, _ := vars[path.set].(map[string]any)
					if inner == nil {
						inner = map[string]any{}
						vars[path.set] = inner
					}
					set = inner
				}
				name = path.prefix + rest
			}
		}
		if len(f.labels) == 0 {
			set[name] = f.value
			continue
		}
		members, _ := set[name].(map[string]uint64)
		if members == nil {
			members = map[string]uint64{}
			set[name] = members
		}
		members[labelText(f.labels)] = f.value
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	writeSorted(w, vars)
}

// varsNames are the families that derper's JSON names otherwise than Prometheus does: by how
// their names begin, the set they stand in and what takes the place of the beginning.
var varsNames = map[string]struct{ set, prefix string }{
	"stun_":                      {"stun", "counter_"},
	"tls_listener_":              {"tls_listener", "counter_"},
	"bootstrap_dns_":             {"", "counter_bootstrap_dns_"},
	"derp_packets_received_kind": {"derp", "counter_packets_received_kind"},
	"derp_rate_limit_":           {"derp", "rate_limit_"},
	"derp_tcp_rtt":               {"derp", "counter_tcp_rtt"},
	"derper_tls_active_version":  {"", "gauge_derper_tls_active_version"},
}

// queueWaitName is the only number of derper's set that is no whole one.
const queueWaitName = "average_queue_duration_ms"

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
