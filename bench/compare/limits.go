package compare

import (
	"math"

	"derpd/bench"
)

// Threshold is how far a median may move and count as unchanged: it must move by more than both.
type Threshold struct {
	Relative float64 // as a share of the old one; how often as much plus one, where lower is better
	Absolute float64 // in the figure's unit
}

// Thresholds are those of the classes, for figures of at least samplesMin samples (see of). A class
// that is not here is not judged. `make bench-stable` tries them on runs of one build.
var Thresholds = map[bench.Class]Threshold{
	// A lonely packet takes some four system calls, so one more is a change of the code. So is an
	// allocation in fifty packets.
	bench.Counted: {0.10, 0.02},
	// How many packets come together depends on who is faster at the moment.
	bench.Batching: {0.5, 0.1},
	// Heaps grow in steps, and collections come when they come: 6 MB more or less.
	bench.Memory: {0.25, 100},
	// Below the knee nothing is lost; a packet in two hundred is more than a stall of the machine.
	bench.Loss: {0, 0.005},
	// Processor time depends on what shares the caches and on the host's clock.
	bench.Timing: {0.30, 0.3},
	// Knees are found in steps of 9 %, at rates where everything matters.
	bench.Throughput: {0.25, 0.05},
	// A median latency over loopback is some ten µs, of which waking up is most.
	bench.Latency: {0.40, 25},
	// One stall of 5 ms in two seconds is a p99 of its own.
	bench.Tail: {1.5, 1000},
}

const (
	// foundApart is how many times as much one of two loads may be that were searched for, for what
	// was measured there to be compared: two steps of 9 %, in which knees are found.
	foundApart = 1.25
	// loadRounding is how far apart loads are by which no more than arithmetic differs.
	loadRounding = 1e-9
	// fewPower and onePower are how many times over a figure must move relatively if it has fewer
	// than samplesMin samples, or one: of so few, chance alone often puts one above the other.
	fewPower = 1.5
	onePower = 3
	// steadyPower is how many times over the rounds of the reference may differ by what a median may.
	steadyPower = 3
)

// of is the threshold of a figure of n samples.
func (t Threshold) of(n int) Threshold {
	power := 1.0
	switch {
	case n <= 1:
		power = onePower
	case n < samplesMin:
		power = fewPower
	}
	return Threshold{math.Pow(1+t.Relative, power) - 1, t.Absolute}
}
