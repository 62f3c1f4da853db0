package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

// A handshake leaves 70 KB of garbage, nearly all of it crypto/tls's, and a heap that is small
// otherwise would be collected every fifty of them, which was a sixth of what a login costs. So
// there is always room for some, and what a storm of logins has left goes back to the system when
// it is over.
const (
	// heapRoom is how much is allocated between two collections at least: 450 handshakes.
	heapRoom = 32 << 20
	// heapLook is how often it is seen whether there is memory to give back.
	heapLook = 2 * time.Second
	// stormBytes allocated in that time make a storm: 100 handshakes a second.
	stormBytes = 16 << 20
	// calmBytes or less in that time is the end of one.
	calmBytes = 4 << 20
)

// heapPercent is the GOGC that leaves heapRoom, for a heap of which live bytes are in use.
func heapPercent(live uint64) int {
	const usual = 100
	return max(usual, int(heapRoom*100/max(live, 4<<20)))
}

// keepRoom sets GOGC anew after each collection, until stop is called. Where the environment has
// set it, that is kept.
func keepRoom() (stop func()) {
	var over atomic.Bool
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	percent := 0
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	var again func(*collected)
	again = func(o *collected) {
		if over.Load() {
			return
		}
		metrics.Read(live)
		if p := heapPercent(live[0].Value.Uint64()); p != percent {
			percent = p
			debug.SetGCPercent(p)
		}
		runtime.SetFinalizer(o, again) // once this has returned, nobody refers to it any more
	}
	again(new(collected))
	return func() { over.Store(true) }
}

// collected is what each collection finds unused. It must not be tiny, or it shares its memory.
type collected [4]*collected

// trim gives memory back to the system when a storm is over, until ctx ends.
func trim(ctx context.Context) {
	tick := time.NewTicker(heapLook)
	defer tick.Stop()
	allocs := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var t trimmer
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		metrics.Read(allocs)
		if t.due(allocs[0].Value.Uint64()) {
			debug.FreeOSMemory()
		}
	}
}

// trimmer recognises the end of a storm.
type trimmer struct {
	last  uint64 // bytes allocated since start, at the last look
	storm bool   // there was one, and its memory is still held
}

// due is told at each look what has been allocated since start.
func (t *trimmer) due(allocated uint64) bool {
	n := allocated - t.last
	t.last = allocated
	switch {
	case n >= stormBytes:
		t.storm = true
	case n <= calmBytes && t.storm:
		t.storm = false
		return true
	}
	return false
}
