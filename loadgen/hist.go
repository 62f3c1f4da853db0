package loadgen

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// histMax is the longest time that a Hist tells apart; longer ones are counted as it.
	histMax = 5 * time.Minute
	// histDigits is how exact it is: 3 significant digits, an error of at most 0.1 %.
	histDigits = 3
	// histUnit is the resolution at the short end: 1 µs over loopback is far below what is timed.
	histUnit = time.Microsecond
)

// Hist is a histogram of times from 1 µs to 5 min with three significant digits (HdrHistogram). In
// JSON it is HdrHistogram's own compressed form in base64, in microseconds, so that histograms of
// several processes and machines add up exactly. It takes about 180 KB.
type Hist struct{ h *hdrhistogram.Histogram }

// NewHist returns an empty histogram.
func NewHist() *Hist {
	return &Hist{hdrhistogram.New(1, int64(histMax/histUnit), histDigits)}
}

// Record counts a time; what is out of range is counted at the nearest end.
func (h *Hist) Record(d time.Duration) {
	// It cannot fail within the range.
	_ = h.h.RecordValue(min(max(int64(d/histUnit), 1), int64(histMax/histUnit)))
}

// Merge adds another's counts; nil adds nothing.
func (h *Hist) Merge(other *Hist) {
	if other != nil {
		h.h.Merge(other.h)
	}
}

// Count is how many times were recorded; 0 for nil.
func (h *Hist) Count() int64 {
	if h == nil {
		return 0
	}
	return h.h.TotalCount()
}

// At returns the time that p percent of the recorded ones do not exceed; 0 if there are none.
func (h *Hist) At(p float64) time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(h.h.ValueAtPercentile(p)) * histUnit
}

// Mean, Min and Max are 0 if nothing was recorded.
func (h *Hist) Mean() time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(h.h.Mean() * float64(histUnit))
}

// Min is the shortest time.
func (h *Hist) Min() time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(h.h.Min()) * histUnit
}

// Max is the longest time.
func (h *Hist) Max() time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(h.h.Max()) * histUnit
}

// Reset forgets all.
func (h *Hist) Reset() { h.h.Reset() }

// Clone copies it.
func (h *Hist) Clone() *Hist {
	c := NewHist()
	c.Merge(h)
	return c
}

// MarshalJSON implements json.Marshaler.
func (h *Hist) MarshalJSON() ([]byte, error) {
	b, err := h.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("loadgen: encode a histogram: %w", err)
	}
	return json.Marshal(string(b))
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *Hist) UnmarshalJSON(b []byte) (err error) {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	// The library trusts what it decodes; a damaged one may panic.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("loadgen: histogram %.40q is damaged", s)
		}
	}()
	in, err := hdrhistogram.Decode([]byte(s))
	if err != nil {
		return fmt.Errorf("loadgen: histogram %.40q is damaged: %w", s, err)
	}
	*h = *NewHist()
	h.h.Merge(in)
	return nil
}
