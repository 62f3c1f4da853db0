package httpd

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"derpd/relay"
)

// distribution is a metric that is a histogram: its name in derper's set "derp", the bounds of
// its buckets, and where the relay counts it.
type distribution struct {
	name, help string
	bounds     []uint64
	value      func(s *relay.Snapshot) *relay.Histogram
}

var distributions = []distribution{
	{"buffered_write_frames", "Packets and groups of control frames in each send to a client.",
		relay.FlushBounds, func(s *relay.Snapshot) *relay.Histogram { return &s.FlushSizes }},
	{"mesh_update_batch_size", "Changes of presence that a mesh peer was handed at once.",
		relay.MeshBatchBounds, func(s *relay.Snapshot) *relay.Histogram { return &s.MeshBatches }},
	{"mesh_update_loop_count", "Buffers that it took until a mesh peer had been told all changes.",
		relay.MeshRoundBounds, func(s *relay.Snapshot) *relay.Histogram { return &s.MeshRounds }},
}

// cumulative calls fn for each bound with the number of values up to it.
func (d distribution) cumulative(s *relay.Snapshot, fn func(bound, n uint64)) {
	h, n := d.value(s), uint64(0)
	for i, b := range d.bounds {
		n += h.Buckets[i]
		fn(b, n)
	}
}

// metric gives the distribution to Prometheus.
func (d distribution) metric(s *relay.Snapshot) prometheus.Metric {
	buckets := map[float64]uint64{}
	d.cumulative(s, func(bound, n uint64) { buckets[float64(bound)] = n })
	h := d.value(s)
	return prometheus.MustNewConstHistogram(prometheus.NewDesc("derp_"+d.name, d.help, nil, nil),
		h.Count, float64(h.Sum), buckets)
}

// vars is the distribution in derper's JSON.
func (d distribution) vars(s *relay.Snapshot) map[string]uint64 {
	h := d.value(s)
	v := map[string]uint64{"+Inf": h.Count, "count": h.Count, "sum": h.Sum}
	d.cumulative(s, func(bound, n uint64) { v[strconv.FormatUint(bound, 10)] = n })
	return v
}

// roundTripFamily are the members of derp_tcp_rtt. In spite of its label it is no histogram,
// neither here nor in derper: each member counts its own bucket only.
func roundTripFamily(s *relay.Snapshot) (all []labelled) {
	add := func(le string, n uint64) {
		all = append(all, labelled{family: "derp_tcp_rtt", labels: []label{{"le", le}}, value: n})
	}
	for i, bound := range relay.RoundTripBounds {
		add(strconv.FormatInt(int64(bound/time.Millisecond), 10)+"ms", s.RoundTrips.Buckets[i])
	}
	add("inf", s.RoundTrips.Buckets[len(relay.RoundTripBounds)])
	add("error", s.RoundTrips.Unknown)
	return all
}
