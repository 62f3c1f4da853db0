package scrape

import (
	"bytes"
	"errors"
	"fmt"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metrics is one reading of a relay. A number that its page does not have is Unknown.
type Metrics struct {
	// Dropped counts packets since the relay started, by reason.
	Dropped map[string]uint64
	// Connections is how many DERP connections there are, Clients how many different keys have
	// one or, in derper, are known by mesh.
	Connections, Clients int64
	// Received and Sent are packets since the relay started, from and to clients.
	Received, Sent int64
	// Watchers are the other nodes of the region that are told who is here.
	Watchers   int64
	RSSBytes   int64 // resident memory of the process
	Goroutines int64
	// CrossLoop are packets whose sender and destination belong to different loops, Wakeups system
	// calls by which loops were woken, and Posts functions that loops were given to run, by all loops
	// together since the relay started. derpd tells them.
	CrossLoop, Wakeups, Posts int64
}

// Unknown stands for a number that the relay does not tell.
const Unknown = -1

// The families that are read; both relays have them all but those of loops.
const (
	familyDropped     = "derp_packets_dropped" // labels reason and kind
	familyConnections = "derp_current_connections"
	familyClients     = "derp_clients_total"
	familyReceived    = "derp_packets_received"
	familySent        = "derp_packets_sent"
	familyWatchers    = "derp_watchers"
	familyRSS         = "process_resident_memory_bytes"
	familyGoroutines  = "go_goroutines"
	familyCrossLoop   = "derp_cross_loop_packets"
	familyWakeups     = "derp_loop_wakeups" // label loop
	familyPosts       = "derp_loop_posts"   // label loop
)

// parse reads a page in Prometheus' text format. One without dropped packets is of something else
// than a DERP relay.
func parse(page []byte) (Metrics, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		return Metrics{}, fmt.Errorf("not Prometheus' text format: %w", err)
	}
	dropped, ok := families[familyDropped]
	if !ok {
		return Metrics{}, fmt.Errorf("no %s in it: not the page of a DERP relay", familyDropped)
	}
	m := Metrics{Dropped: map[string]uint64{}}
	for _, one := range dropped.GetMetric() {
		n, err := count(one)
		if err != nil {
			return Metrics{}, fmt.Errorf("%s: %w", familyDropped, err)
		}
		m.Dropped[label(one, "reason")] += uint64(n)
	}
	for name, into := range map[string]*int64{familyConnections: &m.Connections,
		familyClients: &m.Clients, familyReceived: &m.Received, familySent: &m.Sent,
		familyWatchers: &m.Watchers,
		familyRSS:      &m.RSSBytes, familyGoroutines: &m.Goroutines,
		familyCrossLoop: &m.CrossLoop, familyWakeups: &m.Wakeups, familyPosts: &m.Posts} {
		*into = Unknown
		family, ok := families[name]
		if !ok {
			continue
		}
		*into = 0
		for _, one := range family.GetMetric() {
			n, err := count(one)
			if err != nil {
				return Metrics{}, fmt.Errorf("%s: %w", name, err)
			}
			*into += n
		}
	}
	return m, nil
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// count returns a sample of any simple type, which must be a whole number of 0 or more.
func count(m *dto.Metric) (int64, error) {
	var v float64
	switch {
	case m.Counter != nil:
		v = m.Counter.GetValue()
	case m.Gauge != nil:
		v = m.Gauge.GetValue()
	case m.Untyped != nil:
		v = m.Untyped.GetValue()
	default:
		return 0, errors.New("a summary or histogram, not a number")
	}
	// NaN is in no range.
	if !(v >= 0 && v <= countMax) || v != float64(int64(v)) {
		return 0, fmt.Errorf("%v is not a count", v)
	}
	return int64(v), nil
}

// ErrRestarted says that a relay counts from the beginning again, so that what it dropped between
// two readings is not known.
var ErrRestarted = errors.New("the relay was restarted between two readings of its drops")

// Diff returns how many packets were dropped from one reading to the next, without the reasons of
// which there were none. The error wraps ErrRestarted: a count went back.
func Diff(before, after map[string]uint64) (map[string]uint64, error) {
	grown := map[string]uint64{}
	for reason, n := range before {
		if after[reason] < n {
			return nil, fmt.Errorf("%w: %s went from %d to %d", ErrRestarted, reason, n,
				after[reason])
		}
	}
	for reason, n := range after {
		if n > before[reason] {
			grown[reason] = n - before[reason]
		}
	}
	return grown, nil
}
