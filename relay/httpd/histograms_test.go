package httpd

import (
	"encoding/json"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"derpd/relay"
)

// derpersBounds are the bucket bounds of derper's histograms.
var derpersBounds = map[string][]float64{
	"derp_buffered_write_frames": {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25, 50,
		100},
	"derp_mesh_update_batch_size": {0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000},
	"derp_mesh_update_loop_count": {0, 1, 2, 5, 10, 20, 50, 100},
}

// TestDistributions: histograms have derper's names and bounds, and cumulative counts.
func TestDistributions(t *testing.T) {
	c := testConfig()
	c.Snapshot = func() (s relay.Snapshot) {
		s.FlushSizes = relay.Histogram{Count: 10, Sum: 700,
			Buckets: [16]uint64{1: 4, 3: 2, 15: 1}}
		return s
	}
	families := scrape(t, c)
	for name, bounds := range derpersBounds {
		f := families[name]
		if f.GetType() != dto.MetricType_HISTOGRAM {
			t.Errorf("%s is a %v", name, f.GetType())
			continue
		}
		buckets := f.GetMetric()[0].GetHistogram().GetBucket()
		if len(buckets) != len(bounds)+1 { // and +Inf
			t.Errorf("%s has %d buckets, want %d", name, len(buckets), len(bounds)+1)
			continue
		}
		for i, b := range bounds {
			if buckets[i].GetUpperBound() != b {
				t.Errorf("%s: bound %d is %v, want %v", name, i, buckets[i].GetUpperBound(), b)
			}
		}
	}
	h := families["derp_buffered_write_frames"].GetMetric()[0].GetHistogram()
	b := h.GetBucket()
	if h.GetSampleCount() != 10 || h.GetSampleSum() != 700 || b[0].GetCumulativeCount() != 0 ||
		b[1].GetCumulativeCount() != 4 || b[5].GetCumulativeCount() != 6 ||
		b[15].GetCumulativeCount() != 7 {
		t.Errorf("%v", h)
	}
	vars := bodyOf(t, ask(Main(c), "GET", "/debug/vars", "127.0.0.1:1"))
	var parsed struct {
		Derp struct {
			Frames map[string]int `json:"counter_buffered_write_frames"`
		}
	}
	if err := json.Unmarshal([]byte(vars), &parsed); err != nil {
		t.Fatal(err)
	}
	frames := parsed.Derp.Frames
	if frames["5"] != 6 || frames["+Inf"] != 10 || frames["sum"] != 700 || len(frames) != 19 {
		t.Errorf("in JSON %v", frames)
	}
}

// TestGoRuntime: the names are those of derper 1.104, with its buckets of time.
func TestGoRuntime(t *testing.T) {
	families := scrape(t, testConfig())
	for name, kind := range map[string]dto.MetricType{
		"go_runtime_cpu_classes_gc_total_cpu_seconds_total": dto.MetricType_COUNTER,
		"go_runtime_cpu_classes_total_cpu_seconds_total":    dto.MetricType_COUNTER,
		"go_runtime_gc_heap_live_bytes":                     dto.MetricType_GAUGE,
		"go_runtime_sched_latencies_seconds":                dto.MetricType_HISTOGRAM,
		"go_runtime_sched_pauses_total_gc_seconds":          dto.MetricType_HISTOGRAM,
		"go_runtime_sched_threads_total_threads":            dto.MetricType_GAUGE,
		"go_runtime_sync_mutex_wait_total_seconds_total":    dto.MetricType_COUNTER,
	} {
		if f := families[name]; f == nil || f.GetType() != kind || f.GetHelp() == "" {
			t.Errorf("%s: %v, want a %v", name, f, kind)
		}
	}
	h := families["go_runtime_sched_latencies_seconds"].GetMetric()[0].GetHistogram()
	buckets := h.GetBucket()
	if n := len(buckets); n < 12 || n > 16 || h.GetSampleCount() == 0 ||
		buckets[0].GetUpperBound() > 300e-9 || buckets[n-2].GetUpperBound() < 1 {
		t.Errorf("%v", h)
	}
	for i := 1; i < len(buckets)-1; i++ {
		if r := buckets[i].GetUpperBound() / buckets[i-1].GetUpperBound(); r < 3.9 || r > 4.1 {
			t.Errorf("bucket %d is %v times the one before", i, r)
		}
	}
	count := uint64(0)
	for _, b := range buckets {
		if b.GetCumulativeCount() < count {
			t.Errorf("buckets are not cumulative: %v", h)
		}
		count = b.GetCumulativeCount()
	}
}

func TestAMD64Level(t *testing.T) {
	levels, ok := amd64Levels()
	if ok && (levels[0] < max(1, levels[1]) || levels[0] > 4) {
		t.Errorf("this machine has level %d, built for %d", levels[0], levels[1])
	}
	families := scrape(t, testConfig())
	for i, name := range []string{"goamd64_capable", "goamd64_compiled"} {
		if f := families[name]; (f != nil) != ok || ok && value(t, f) != float64(levels[i]) {
			t.Errorf("%s is %v", name, f)
		}
	}
}
