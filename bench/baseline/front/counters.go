package front

import (
	"fmt"
	"strings"
	"sync/atomic"
)

// MetricsPath is where the metrics page is.
const MetricsPath = "/debug/varz"

// Counters are what a relay tells of itself. A packet that was received was sent, is queued, or
// is in one of the drops.
type Counters struct {
	Clients  atomic.Int64 // logged in now
	Received atomic.Uint64
	Sent     atomic.Uint64 // written, or handed to a queue from which nothing is dropped
	Unknown  atomic.Uint64 // dropped: nobody has the destination's key
	Full     atomic.Uint64 // dropped: the destination does not read fast enough
	Gone     atomic.Uint64 // dropped: the destination left before it had them
}

// Page is the metrics page in Prometheus's text format, with derper's names.
func (c *Counters) Page() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# TYPE derp_current_connections gauge\nderp_current_connections %d\n",
		c.Clients.Load())
	fmt.Fprintf(&b, "# TYPE derp_packets_received counter\nderp_packets_received %d\n",
		c.Received.Load())
	fmt.Fprintf(&b, "# TYPE derp_packets_sent counter\nderp_packets_sent %d\n", c.Sent.Load())
	fmt.Fprintln(&b, "# TYPE derp_packets_dropped counter")
	for _, drop := range []struct {
		reason string
		n      *atomic.Uint64
	}{{"unknown_dest", &c.Unknown}, {"queue_tail", &c.Full}, {"gone_disconnected", &c.Gone}} {
		fmt.Fprintf(&b, "derp_packets_dropped{kind=\"other\",reason=\"%s\"} %d\n", drop.reason,
			drop.n.Load())
	}
	return []byte(b.String())
}
