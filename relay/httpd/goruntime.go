package httpd

import (
	"math"
	"runtime/metrics"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// runtimeExport are the metrics of Go's runtime that derper offers under go_runtime_, each with
// whether it is a gauge. None stops the world to be read. A name that this version of Go does
// not know is left out.
var runtimeExport = []struct {
	name  string
	gauge bool
}{
	{"/cpu/classes/gc/total:cpu-seconds", false},
	{"/cpu/classes/total:cpu-seconds", false},
	{"/gc/heap/live:bytes", true},
	{"/sched/latencies:seconds", true}, // a histogram, as the next
	{"/sched/pauses/total/gc:seconds", true},
	{"/sched/threads/total:threads", true},
	{"/sync/mutex/wait/total:seconds", false},
}

// The runtime's histograms of time have hundreds of buckets. Those kept lie a factor of four
// apart, from 256 ns to the first above a second, all of them bounds of the runtime's own.
const (
	runtimeBucketFirst = 256e-9
	runtimeBucketLast  = 1.0
	runtimeBucketStep  = 4
)

// runtimeName is a metric's name at Prometheus, by the rules of client_golang: path and unit
// joined by underscores, and _total behind a counter.
func runtimeName(name string, counter bool) string {
	name = "go_runtime" + strings.NewReplacer("/", "_", "-", "_", ":", "_").Replace(name)
	if counter {
		name += "_total"
	}
	return name
}

// runtimeFamilies reads runtimeExport.
func runtimeFamilies() (all []prometheus.Metric) {
	help := map[string]string{}
	for _, d := range metrics.All() {
		help[d.Name] = d.Description
	}
	samples := make([]metrics.Sample, len(runtimeExport))
	for i, m := range runtimeExport {
		samples[i].Name = m.name
	}
	metrics.Read(samples)
	for i, s := range samples {
		desc := prometheus.NewDesc(runtimeName(s.Name, !runtimeExport[i].gauge),
			firstSentence(help[s.Name]), nil, nil)
		kind := prometheus.CounterValue
		if runtimeExport[i].gauge {
			kind = prometheus.GaugeValue
		}
		switch s.Value.Kind() {
		case metrics.KindUint64:
			all = append(all, prometheus.MustNewConstMetric(desc, kind, float64(s.Value.Uint64())))
		case metrics.KindFloat64:
			all = append(all, prometheus.MustNewConstMetric(desc, kind, s.Value.Float64()))
		case metrics.KindFloat64Histogram:
			all = append(all, runtimeHistogram(desc, s.Value.Float64Histogram()))
		}
	}
	return all
}

// runtimeHistogram merges the runtime's buckets. The runtime keeps no sum; the one given takes
// each value as its bucket's lower bound.
func runtimeHistogram(desc *prometheus.Desc, h *metrics.Float64Histogram) prometheus.Metric {
	buckets := map[float64]uint64{}
	var count uint64
	var sum float64
	next := runtimeBucketFirst * (1 - 1e-9) // bounds are powers of two, 256e-9 is not
	for i, n := range h.Counts {
		count += n
		if low := h.Buckets[i]; n > 0 && !math.IsInf(low, 0) {
			sum += float64(n) * low
		}
		if high := h.Buckets[i+1]; high >= next && next <= runtimeBucketLast*runtimeBucketStep &&
			!math.IsInf(high, 0) {
			buckets[high] = count
			next = high * runtimeBucketStep
		}
	}
	return prometheus.MustNewConstHistogram(desc, count, sum, buckets)
}

// firstSentence shortens the runtime's descriptions.
func firstSentence(s string) string {
	if i := strings.Index(s, ". "); i >= 0 {
		s = s[:i+1]
	}
	return s
}
