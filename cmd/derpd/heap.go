package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Garbage is made by logins, some 80 KB each; a relay whose clients are all there makes next to
// none. In a storm of logins the heap may grow to twice of what is live between collections, Go's
// own measure, so that they cost little. In a calm that half would stay resident, as garbage that
// nothing comes to collect: there the heap may grow by a quarter, which costs nothing when nothing
// is allocated.
const (
	stormPercent = 100 // Go's default
	calmPercent  = 25

	// heapLook is how often the two are told apart. It is a calm if by its allocations a heap of
	// calmPercent would be collected less often than that.
	heapLook = 5 * time.Second

	// calmBytes are no storm for a small heap, which is collected in a millisecond.
	calmBytes = 4 << 20
)

// heapPolicy sets how far the heap may grow. No collection is forced.
type heapPolicy struct {
	percent int
	allocs  uint64 // bytes allocated since the start of the program, at the last look
}

// look takes the bytes that the last collection found live and those allocated since the start
// of the program. change says that percent is a new one.
func (p *heapPolicy) look(live, allocs uint64) (change bool) {
	fresh := allocs - p.allocs
	p.allocs = allocs
	percent := stormPercent
	if fresh <= max(live*calmPercent/100, calmBytes) {
		percent = calmPercent
	}
	change = percent != p.percent
	p.percent = percent
	return change
}

// sipBytes is an allocation that makes the collector compare the heap with its goal, which in a
// calm might be long in coming otherwise. It is too long for a stack.
const sipBytes = 128 << 10

// followHeap keeps the policy until ctx ends, unless the environment has one (GOGC).
func followHeap(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	p := heapPolicy{percent: stormPercent}
	tick := time.NewTicker(heapLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(samples)
		if p.look(samples[0].Value.Uint64(), samples[1].Value.Uint64()) {
			debug.SetGCPercent(p.percent)
			runtime.KeepAlive(make([]byte, sipBytes))
		}
	}
}
