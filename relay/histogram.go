package relay

import (
	"math"
	"time"
)

// Histogram counts values by the bounds that they do not exceed. It is plain numbers of the
// loop that counts, as all Counters.
type Histogram struct {
	Buckets [histogramBuckets]uint64 // of each bound, values above the bound before it
	Count   uint64                   // all values, those above the last bound too
	Sum     uint64
}

// histogramBuckets is how many bounds the longest list has.
const histogramBuckets = 16

// The bounds are derper's, so that a dashboard's queries carry on.
var (
	FlushBounds     = []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25, 50, 100}
	MeshBatchBounds = []uint64{0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}
	MeshRoundBounds = []uint64{0, 1, 2, 5, 10, 20, 50, 100}
)

// observe counts one value.
func (h *Histogram) observe(bounds []uint64, v uint64) {
	h.Count++
	h.Sum += v
	for i, b := range bounds {
		if v <= b {
			h.Buckets[i]++
			return
		}
	}
}

func (h *Histogram) add(o *Histogram) {
	for i, n := range o.Buckets {
		h.Buckets[i] += n
	}
	h.Count += o.Count
	h.Sum += o.Sum
}

// RoundTripBounds are what TCP round trips are counted by; there is one more count behind them
// for what is longer than all.
var RoundTripBounds = [...]time.Duration{10 * time.Millisecond, 20 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 150 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond}

// RoundTrips counts TCP round trips, each in the first bucket that it fits.
type RoundTrips struct {
	Buckets [len(RoundTripBounds) + 1]uint64
	Unknown uint64 // the kernel had no answer
}

func (r *RoundTrips) observe(d time.Duration, known bool) {
	if !known {
		r.Unknown++
		return
	}
	i := 0
	for i < len(RoundTripBounds) && d > RoundTripBounds[i] {
		i++
	}
	r.Buckets[i]++
}

func (r *RoundTrips) add(o *RoundTrips) {
	for i, n := range o.Buckets {
		r.Buckets[i] += n
	}
	r.Unknown += o.Unknown
}

// QueueWait is the moving average of how long packets waited to be sent, in which each packet
// weighs a tenth of what those before it weigh together, as in derper.
type QueueWait struct {
	Mean    float64 // milliseconds
	Packets uint64  // that the average has seen
}

// queueWaitKept is the share of the old average that is left after so many packets. A send
// is averaged at once: what its packets' order would change is beyond what anyone reads off it.
var queueWaitKept = func() (kept [64]float64) {
	for n := range kept {
		kept[n] = math.Pow(0.9, float64(n))
	}
	return kept
}()

// observe takes the packets of one send, which waited for ns together.
func (w *QueueWait) observe(packets int, ns int64) {
	mean := float64(ns) / float64(packets) / 1e6
	w.Mean = mean + (w.Mean-mean)*queueWaitKept[min(packets, len(queueWaitKept)-1)]
	w.Packets += uint64(packets)
}

// add averages two loops by what each has sent.
func (w *QueueWait) add(o *QueueWait) {
	if o.Packets == 0 {
		return
	}
	w.Packets += o.Packets
	w.Mean += (o.Mean - w.Mean) * float64(o.Packets) / float64(w.Packets)
}
