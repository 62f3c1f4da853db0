package ratelimit

import (
	"math/bits"
	"time"
)

// Bucket is the token bucket of one connection, as plain data of 24 bytes. The zero Bucket
// is full.
//
// What it remembers is the moment when it will be full again, from which the tokens in it
// follow: the burst less what flows in until then. So silence costs no arithmetic, and time
// that steps back gives no tokens.
type Bucket struct {
	limits   Limits // those that fullAtNs was computed with
	fullAtNs int64  // the loop's time
}

// Take charges a received frame of n bytes (without its header; more than 65568 count as
// that many) at the loop's time now, in nanoseconds. wait is how long the reader must pause
// before it takes more from the connection, 0 if not at all. The frame is charged in any case
// and may be handled at once.
//
// Frames of one batch may all be taken before the pause: each wait includes those before it,
// so the last one counts. A wait that was not kept is not forgotten either. Take with n = 0
// charges nothing and tells the pause that is left.
//
// A Limits of another value makes the bucket full, as a reload does upstream; a reader that
// is in a pause by then may ask with n = 0 to end it early. A rate of 0 is no limit.
func (b *Bucket) Take(now int64, lim *Limits, n int) (wait time.Duration) {
	if b.limits != *lim {
		*b = Bucket{limits: *lim, fullAtNs: now}
	}
	if lim.BytesPerSec == 0 {
		return 0
	}
	charge := spanNs(uint64(min(max(n, 0), frameBytesMax)), lim.BytesPerSec)
	emptyNs := min(max(b.fullAtNs-now, 0)+charge, spanNsMax)
	b.fullAtNs = now + emptyNs
	return time.Duration(max(emptyNs-spanNs(lim.BurstBytes, lim.BytesPerSec), 0))
}

// spanNs returns how many nanoseconds that many bytes take at a rate above 0, to the nearest,
// and at most spanNsMax.
func spanNs(bytes, perSec uint64) int64 {
	hi, lo := bits.Mul64(bytes, uint64(time.Second))
	lo, carry := bits.Add64(lo, perSec/2, 0)
	hi += carry
	if hi >= perSec {
		return spanNsMax // the quotient does not fit 64 bits
	}
	ns, _ := bits.Div64(hi, lo, perSec)
	return int64(min(ns, spanNsMax))
}
