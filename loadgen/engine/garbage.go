package engine

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
)

// roomForGarbage lets the heap grow by so much between collections, unless the environment says
// how far (GOGC), until restore is called. A collection stops the loops for a moment and takes
// their processor for some, which would show in a hundredth of the packets of a step with many
// logins: they make some 70 KB of garbage each.
func roomForGarbage() (restore func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	percent := max(100, int(garbageRoom*100/max(live[0].Value.Uint64(), heapMin)))
	before := debug.SetGCPercent(percent)
	return func() { debug.SetGCPercent(before) }
}
