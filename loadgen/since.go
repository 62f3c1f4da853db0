package loadgen

import "github.com/HdrHistogram/hdrhistogram-go"

// Since returns what was recorded after before was cloned from h, for a look at the last moments of
// a histogram that only grows. If before has what h has not, h was begun anew, and is returned.
func (h *Hist) Since(before *Hist) *Hist {
	if h == nil || before.Count() == 0 {
		return h
	}
	now, then := h.h.Export(), before.h.Export()
	for i := range now.Counts {
		if now.Counts[i] -= then.Counts[i]; now.Counts[i] < 0 {
			return h
		}
	}
	return &Hist{hdrhistogram.Import(now)}
}
