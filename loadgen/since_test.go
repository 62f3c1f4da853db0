package loadgen

import (
	"testing"
	"time"
)

func TestHistSince(t *testing.T) {
	h := NewHist()
	for range 1000 {
		h.Record(time.Millisecond)
	}
	before := h.Clone()
	h.Record(time.Second)
	h.Record(3 * time.Second)
	last := h.Since(before)
	if last.Count() != 2 || last.Min() < 999*time.Millisecond || last.Max() < 2999*time.Millisecond {
		t.Errorf("%d times from %v to %v", last.Count(), last.Min(), last.Max())
	}
	if h.Count() != 1002 || before.Count() != 1000 {
		t.Errorf("%d and %d times are left", h.Count(), before.Count())
	}
	again := NewHist()
	again.Record(time.Minute)
	if again.Since(before) != again || again.Since(nil) != again || (*Hist)(nil).Since(h) != nil {
		t.Error("what was begun anew is not returned as it is")
	}
}
