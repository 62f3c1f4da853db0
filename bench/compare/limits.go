package compare

import "derpd/bench"

// Threshold is how far a median may move and count as unchanged: it must move by more than both.
type Threshold struct {
	Relative float64 // as a share of the old one; how often as much plus one, where lower is better
	Absolute float64 // in the figure's unit
}

// Thresholds are those of the classes. They are estimates: tried on simulated noise and on one pair
// of runs of one build, not yet on many pairs from a quiet machine. A class that is not here is not
// judged.
var Thresholds = map[bench.Class]Threshold{
	// A lonely packet takes some four system calls, so one more is a change of the code. So is an
	// allocation in fifty packets.
	bench.Counted: {0.10, 0.02},
	// How many packets come together depends on who is faster at the moment.
	bench.Batching: {0.5, 0.1},
	// Heaps grow in steps, and collections come when they come.
	bench.Memory: {0.10, 100},
	// Processor time depends on what shares the caches and on the host's clock.
	bench.Timing: {0.20, 0.3},
	// Knees are found in steps of 4 %, at rates where everything matters.
	bench.Throughput: {0.20, 0.05},
	// A median latency over loopback is some ten µs, of which waking up is most.
	bench.Latency: {0.40, 25},
	// One stall of 5 ms in two seconds is a p99 of its own.
	bench.Tail: {1.5, 1000},
}
