package httpd

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	dto "github.com/prometheus/client_model/go"

	"derpd/relay"
)

// derperNames are derper's metrics that this relay has, with the type that derper gives them.
var derperNames = map[string]dto.MetricType{
	"derp_current_file_descriptors":               dto.MetricType_GAUGE,
	"derp_current_connections":                    dto.MetricType_GAUGE,
	"derp_current_home_connections":               dto.MetricType_GAUGE,
	"derp_current_notideal_connections":           dto.MetricType_GAUGE,
	"derp_clients_total":                          dto.MetricType_GAUGE,
	"derp_clients_local":                          dto.MetricType_GAUGE,
	"derp_current_dup_client_keys":                dto.MetricType_GAUGE,
	"derp_current_dup_client_conns":               dto.MetricType_GAUGE,
	"derp_total_dup_client_conns":                 dto.MetricType_COUNTER,
	"derp_accepts":                                dto.MetricType_COUNTER,
	"derp_bytes_received":                         dto.MetricType_COUNTER,
	"derp_bytes_sent":                             dto.MetricType_COUNTER,
	"derp_packets_received":                       dto.MetricType_COUNTER,
	"derp_packets_sent":                           dto.MetricType_COUNTER,
	"derp_packets_received_kind":                  dto.MetricType_COUNTER,
	"derp_unknown_frames":                         dto.MetricType_COUNTER,
	"derp_home_moves_in":                          dto.MetricType_COUNTER,
	"derp_home_moves_out":                         dto.MetricType_COUNTER,
	"derp_got_ping":                               dto.MetricType_COUNTER,
	"derp_sent_pong":                              dto.MetricType_COUNTER,
	"derp_peer_gone_disconnected_frames":          dto.MetricType_COUNTER,
	"derp_peer_gone_not_here_frames":              dto.MetricType_COUNTER,
	"derp_sclient_write_timeouts":                 dto.MetricType_COUNTER,
	"derp_packets_dropped":                        dto.MetricType_COUNTER,
	"derp_bytes_dropped":                          dto.MetricType_COUNTER,
	"derper_tls_request_version":                  dto.MetricType_COUNTER,
	"stun_requests":                               dto.MetricType_COUNTER,
	"stun_addrfamily":                             dto.MetricType_COUNTER,
	"stun_no_local_addr":                          dto.MetricType_COUNTER,
	"process_start_unix_time":                     dto.MetricType_GAUGE,
	"uptime_sec":                                  dto.MetricType_COUNTER,
	"goroutines":                                  dto.MetricType_GAUGE,
	"version":                                     dto.MetricType_GAUGE,
	"go_version":                                  dto.MetricType_GAUGE,
	"bootstrap_dns_unpublished_percent_misses":    dto.MetricType_COUNTER,
	"derp_rate_limit_per_client_bytes_per_second": dto.MetricType_GAUGE,
	"derp_rate_limit_per_client_burst_bytes":      dto.MetricType_GAUGE,
	"go_sync_mutex_wait_seconds":                  dto.MetricType_COUNTER,
	"derp_memstats_sys0":                          dto.MetricType_GAUGE,
	"derp_watchers":                               dto.MetricType_GAUGE,
	"derp_clients_remote":                         dto.MetricType_GAUGE,
	"derp_packets_forwarded_out":                  dto.MetricType_COUNTER,
	"derp_packets_forwarded_in":                   dto.MetricType_COUNTER,
	"derp_multiforwarder_created":                 dto.MetricType_COUNTER,
	"derp_multiforwarder_deleted":                 dto.MetricType_COUNTER,
	"derp_rate_limit_per_client_waited":           dto.MetricType_COUNTER,
	"derp_websocket_accepts":                      dto.MetricType_COUNTER,
	"tls_listener_accepted_connections":           dto.MetricType_COUNTER,
	"tls_listener_rejected_connections":           dto.MetricType_COUNTER,
	"bootstrap_dns_requests":                      dto.MetricType_COUNTER,
	"bootstrap_dns_published_hits":                dto.MetricType_COUNTER,
	"bootstrap_dns_published_misses":              dto.MetricType_COUNTER,
	"bootstrap_dns_unpublished_hits":              dto.MetricType_COUNTER,
	"bootstrap_dns_unpublished_misses":            dto.MetricType_COUNTER,
	"bootstrap_dns_queried_domains":               dto.MetricType_COUNTER,
	"node_boot_time_seconds":                      dto.MetricType_GAUGE,
	"memstats_heap_alloc":                         dto.MetricType_GAUGE,
	"memstats_total_alloc":                        dto.MetricType_COUNTER,
	"memstats_sys":                                dto.MetricType_GAUGE,
	"memstats_mallocs":                            dto.MetricType_COUNTER,
	"memstats_frees":                              dto.MetricType_COUNTER,
	"memstats_num_gc":                             dto.MetricType_COUNTER,
	"memstats_gc_cpu_fraction":                    dto.MetricType_GAUGE,
	"derp_average_queue_duration_ms":              dto.MetricType_GAUGE,
	"derp_tcp_rtt":                                dto.MetricType_COUNTER,
	"derp_packet_forwarder_delete_other_value":    dto.MetricType_COUNTER,
	"derper_tls_active_version":                   dto.MetricType_GAUGE,
	"go_goroutines":                               dto.MetricType_GAUGE,
	"process_resident_memory_bytes":               dto.MetricType_GAUGE,
}

// scrape reads /debug/varz as Prometheus does.
func scrape(t *testing.T, c Config) map[string]*dto.MetricFamily {
	t.Helper()
	r := ask(Main(c), "GET", "/debug/varz", "127.0.0.1:1")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(r.Body)
	if err != nil || r.StatusCode != 200 {
		t.Fatalf("status %d, %v", r.StatusCode, err)
	}
	return families
}

// value returns the number of the member with these labels (name, value, …).
func value(t *testing.T, f *dto.MetricFamily, labels ...string) float64 {
	t.Helper()
	for _, m := range f.GetMetric() {
		var got []string
		for _, l := range m.GetLabel() {
			got = append(got, l.GetName(), l.GetValue())
		}
		if slices.Equal(got, labels) {
			if m.Gauge != nil {
				return m.Gauge.GetValue()
			}
			return m.Counter.GetValue()
		}
	}
	t.Fatalf("%s has no member %v", f.GetName(), labels)
	return 0
}

func TestVarzHasDerpersNames(t *testing.T) {
	families := scrape(t, testConfig())
	for name, kind := range derperNames {
		f := families[name]
		if f == nil {
			t.Errorf("%s is missing", name)
		} else if f.GetType() != kind {
			t.Errorf("%s is a %v, derper's is a %v", name, f.GetType(), kind)
		}
	}
}

// TestVarzHelp: every metric says in a sentence of its own what it counts.
func TestVarzHelp(t *testing.T) {
	sentence := regexp.MustCompile(`^[A-Z].{9,80}\.$`)
	seen := map[string]string{}
	for name, f := range scrape(t, testConfig()) {
		if strings.HasPrefix(name, "go_") && name != "go_version" ||
			strings.HasPrefix(name, "process_") && name != "process_start_unix_time" {
			continue // client_golang's own
		}
		help := f.GetHelp()
		if !sentence.MatchString(help) {
			t.Errorf("%s: the help %q is no sentence of 10 to 80 characters", name, help)
		}
		if other, ok := seen[help]; ok {
			t.Errorf("%s and %s have the same help", name, other)
		}
		seen[help] = name
	}
	names := map[string]bool{}
	for _, m := range derpMetrics {
		if names[m.name] {
			t.Errorf("%s stands in the table twice", m.name)
		}
		names[m.name] = true
	}
	s, c := testSnapshot(), testConfig()
	used := map[string]bool{"version": true, "go_version": true}
	for _, f := range append(families(&s), serviceFamilies(c, &s)...) {
		used[f.family] = true
	}
	for _, help := range []map[string]string{familyHelp, serviceHelp} {
		for name := range help {
			if !used[name] {
				t.Errorf("there is help for %s, which does not exist", name)
			}
		}
	}
}

func TestVarzValues(t *testing.T) {
	c := testConfig()
	ask(Main(c), "GET", "/bootstrap-dns?q=a.example", stranger)
	families := scrape(t, c)
	for _, tc := range []struct {
		family string
		labels []string
		want   float64
	}{
		{"derp_current_connections", nil, 7},
		{"derp_current_home_connections", nil, 3},
		{"derp_clients_total", nil, 6},
		{"derp_packets_received", nil, 120},
		{"derp_packets_received_kind", []string{"kind", "disco"}, 20},
		{"derp_packets_received_kind", []string{"kind", "other"}, 100},
		{"derp_packets_sent", nil, 115},
		{"derp_accepts", nil, 9},
		{"derp_packets_dropped", []string{"kind", "disco", "reason", "queue_head"}, 4},
		{"derp_packets_dropped", []string{"kind", "other", "reason", "unknown_dest"}, 0},
		{"derp_bytes_dropped", []string{"kind", "disco", "reason", "queue_head"}, 480},
		{"derp_connections_ended", []string{"reason", "not_tls", "side", "peer"}, 5},
		{"derper_tls_request_version", []string{"version", "1.3"}, 8},
		{"derper_tls_active_version", []string{"version", "1.2"}, 2},
		{"derper_tls_active_version", []string{"version", "1.3"}, 5},
		{"derp_average_queue_duration_ms", nil, 1.25},
		{"derp_tcp_rtt", []string{"le", "10ms"}, 6},
		{"derp_tcp_rtt", []string{"le", "150ms"}, 3},
		{"derp_tcp_rtt", []string{"le", "inf"}, 4},
		{"derp_tcp_rtt", []string{"le", "error"}, 1},
		{"derp_packet_forwarder_delete_other_value", nil, 13},
		{"derp_loops", nil, 2},
		{"derp_loop_turns", []string{"loop", "1"}, 60},
		{"derp_loop_wakeups", []string{"loop", "1"}, 31},
		{"derp_loop_posts", []string{"loop", "1"}, 32},
		{"derp_cross_loop_packets", nil, 33},
		{"stun_requests", []string{"disposition", "success"}, 11},
		{"stun_addrfamily", []string{"family", "ipv6"}, 2},
		{"version", []string{"binary", "derpd", "version", "1.2.3-test"}, 1},
		{"derp_websocket_accepts", nil, 2},
		{"derp_rate_limit_per_client_bytes_per_second", nil, 5000},
		{"derp_rate_limit_per_client_burst_bytes", nil, 70000},
		{"tls_listener_accepted_connections", nil, 21},
		{"tls_listener_rejected_connections", nil, 9},
		{"bootstrap_dns_requests", nil, 1},
		{"bootstrap_dns_unpublished_misses", nil, 1},
		{"bootstrap_dns_queried_domains", nil, 1},
		{"derp_admissions", []string{"answer", "denied_by_url"}, 6},
		{"derp_admissions", []string{"answer", "allowed"}, 0},
		{"derp_admissions_waiting", nil, 3},
		{"derp_admission_service_lost", []string{"service", "url"}, 1},
		{"derp_admission_service_lost", []string{"service", "tailscaled"}, 0},
		{"derp_certificates_issued", nil, 4},
		{"derp_certificate_not_after", nil, 1900000000},
	} {
		f := families[tc.family]
		if f == nil {
			t.Errorf("%s is missing", tc.family)
		} else if got := value(t, f, tc.labels...); got != tc.want {
			t.Errorf("%s%v is %v, want %v", tc.family, tc.labels, got, tc.want)
		}
	}
	if fds := value(t, families["derp_current_file_descriptors"]); fds < 3 {
		t.Errorf("%v open files", fds)
	}
	for _, name := range []string{"derp_memstats_sys0", "memstats_heap_alloc", "memstats_sys",
		"memstats_total_alloc", "memstats_mallocs", "node_boot_time_seconds"} {
		if v := value(t, families[name]); v <= 0 {
			t.Errorf("%s is %v", name, v)
		}
	}
}

// TestVarzIsComplete: every reason of an end or a drop is there from the start, so that
// alerts can be written before the first case.
func TestVarzIsComplete(t *testing.T) {
	c := testConfig()
	c.Snapshot = func() (s relay.Snapshot) { return s }
	families := scrape(t, c)
	var s relay.Snapshot
	if n := len(families["derp_connections_ended"].GetMetric()); n != len(s.Ends)-1 {
		t.Errorf("%d reasons of ends, want %d", n, len(s.Ends)-1)
	}
	if n := len(families["derp_packets_dropped"].GetMetric()); n != 2*len(s.Drops) {
		t.Errorf("%d drop reasons by kind, want %d", n, 2*len(s.Drops))
	}
	for _, m := range families["derp_packets_dropped"].GetMetric() {
		for _, l := range m.GetLabel() {
			known := []string{"unknown_dest", "unknown_dest_on_fwd", "gone_disconnected",
				"queue_head", "queue_tail", "write_error", "dup_client"}
			if l.GetName() == "reason" && !slices.Contains(known, l.GetValue()) {
				t.Errorf("derper has no drop reason %q", l.GetValue())
			}
		}
	}
	c.STUN, c.TLS, c.Rate, c.Bootstrap, c.Admit, c.ACME = nil, false, nil, nil, nil, nil
	families = scrape(t, c)
	for name := range serviceHelp {
		if families[name] != nil {
			t.Errorf("%s is of something that does not exist", name)
		}
	}
}

// TestVars: the JSON of expvar, in which derper's set is named derp and types are prefixes.
func TestVars(t *testing.T) {
	r := ask(Main(testConfig()), "GET", "/debug/vars", "127.0.0.1:1")
	if ct := r.Header.Get("Content-Type"); ct != "application/json; charset=utf-8" {
		t.Errorf("content type %q", ct)
	}
	var vars map[string]json.RawMessage
	if err := json.NewDecoder(r.Body).Decode(&vars); err != nil {
		t.Fatal(err)
	}
	var derp map[string]json.RawMessage
	if err := json.Unmarshal(vars["derp"], &derp); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"gauge_current_connections": "7", "gauge_current_home_connections": "3",
		"gauge_clients_total": "6", "accepts": "9", "packets_sent": "115",
		"packets_received": "120", "counter_total_dup_client_conns": "0",
		"counter_packets_received_kind": `{"disco":20,"other":100}`,
		"counter_tcp_rtt": `{"100ms":0,"10ms":6,"150ms":3,"20ms":0,"250ms":0,"500ms":0,` +
			`"50ms":0,"error":1,"inf":4}`,
		"average_queue_duration_ms":         "1.25",
		"rate_limit_per_client_burst_bytes": "70000", "version": `"1.2.3-test"`,
	} {
		if got := string(derp[name]); got != want {
			t.Errorf("derp.%s is %s, want %s", name, got, want)
		}
	}
	var dropped map[string]int
	if err := json.Unmarshal(vars["derp_packets_dropped"], &dropped); err != nil {
		t.Fatal(err)
	}
	if dropped["reason=queue_head,kind=disco"] != 4 {
		t.Errorf("drops %v", dropped)
	}
	for name, want := range map[string]string{
		"stun": `{"counter_addrfamily":{"ipv4":9,"ipv6":2},"counter_no_local_addr":0,` +
			`"counter_requests":{"not_stun":0,"read_error":0,"success":11,"write_error":0}}`,
		"tls_listener":                    `{"counter_accepted_connections":21,"counter_rejected_connections":9}`,
		"gauge_derper_tls_active_version": `{"1.2":2,"1.3":5}`,
		"counter_bootstrap_dns_requests":  "0", "derp_websocket_accepts": "2",
	} {
		if got := string(vars[name]); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for _, name := range []string{"cmdline", "counter_uptime_sec", "gauge_goroutines",
		"go_version", "version", "node_boot_time_seconds", "derper_tls_request_version",
		"go_sync_mutex_wait_seconds"} {
		if len(vars[name]) == 0 {
			t.Errorf("%s is missing among %v", name, slices.Sorted(maps.Keys(vars)))
		}
	}
}

// TestCertificateEnd: also of a certificate that is not got by ACME.
func TestCertificateEnd(t *testing.T) {
	c := testConfig()
	c.ACME, c.CertEnd = nil, func() time.Time { return time.Unix(1800000000, 0) }
	f := scrape(t, c)["derp_certificate_not_after"]
	if f == nil {
		t.Fatal("it is missing")
	}
	if got := value(t, f); got != 1800000000 {
		t.Errorf("%v, want 1800000000", got)
	}
}
