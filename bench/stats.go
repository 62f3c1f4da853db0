package bench

import (
	"math"
	"slices"
	"time"
)

// Step is what happened in one window of sending at one rate.
type Step struct {
	Target       float64 `json:"target_per_s"`  // frames asked for; 0: as fast as writes go
	Offered      float64 `json:"offered_per_s"` // frames the senders' kernel took
	Delivered    float64 `json:"delivered_per_s"`
	UserMicros   float64 `json:"relay_user_us"`   // relay CPU a delivered frame
	SystemMicros float64 `json:"relay_system_us"` // the same, in the kernel
	Busy         float64 `json:"relay_cpus"`      // processors the relay kept busy
	Others       float64 `json:"other_cpus"`      // the same of who has no part in this: noise
	P50Micros    float64 `json:"p50_us,omitempty"`
	P99Micros    float64 `json:"p99_us,omitempty"`
}

// CPUMicros is the relay's processor time a delivered frame.
func (s Step) CPUMicros() float64 { return s.UserMicros + s.SystemMicros }

// medianStep takes the median of each field by itself.
func medianStep(steps []Step) Step {
	of := func(field func(Step) float64) float64 {
		v := make([]float64, 0, len(steps))
		for _, s := range steps {
			v = append(v, field(s))
		}
		return median(v)
	}
	return Step{
		Target:       of(func(s Step) float64 { return s.Target }),
		Offered:      of(func(s Step) float64 { return s.Offered }),
		Delivered:    of(func(s Step) float64 { return s.Delivered }),
		UserMicros:   of(func(s Step) float64 { return s.UserMicros }),
		SystemMicros: of(func(s Step) float64 { return s.SystemMicros }),
		Busy:         of(func(s Step) float64 { return s.Busy }),
		Others:       of(func(s Step) float64 { return s.Others }),
		P50Micros:    of(func(s Step) float64 { return s.P50Micros }),
		P99Micros:    of(func(s Step) float64 { return s.P99Micros }),
	}
}

// median of no values is 0; of an even number, the mean of the middle two.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// percentile returns the smallest value that p percent of the sorted values do not exceed.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
