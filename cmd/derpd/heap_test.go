package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestHeapPercent(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 800, 1 << 20: 800, 4 << 20: 800, 8 << 20: 400, 24 << 20: 133, 32 << 20: 100, 1 << 30: 100,
	} {
		if got := heapPercent(live); got != want {
			t.Errorf("live heap of %d: GOGC %d, want %d", live, got, want)
		}
		if got := heapPercent(live); live >= 4<<20 && uint64(got)*live/100 < heapRoom*99/100 {
			t.Errorf("live heap of %d: GOGC %d leaves room for less than %d", live, got, heapRoom)
		}
	}
}

// TestKeepRoom: GOGC follows the live heap from one collection to the next.
func TestKeepRoom(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	gogc := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	wait := func(what string, ok func(percent uint64) bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			runtime.GC()
			if metrics.Read(gogc); ok(gogc[0].Value.Uint64()) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: GOGC is %d", what, gogc[0].Value.Uint64())
			}
		}
	}
	t.Setenv("GOGC", "")
	stop := keepRoom()
	defer stop()
	wait("a small heap", func(p uint64) bool { return p > 300 })
	large := make([]byte, 2*heapRoom)
	wait("a large heap", func(p uint64) bool { return p == 100 })
	runtime.KeepAlive(large)
	wait("a small heap again", func(p uint64) bool { return p > 300 })
}

// TestTrimmer: memory is given back once after each storm, and never for a trickle.
func TestTrimmer(t *testing.T) {
	var tr trimmer
	var allocated uint64
	for i, look := range []struct {
		mib uint64
		due bool
	}{{3, false}, {15, false}, {1, false}, {16, false}, {80, false}, {5, false}, {4, true},
		{0, false}, {4, false}, {100, false}, {0, true}, {0, false}} {
		allocated += look.mib << 20
		if got := tr.due(allocated); got != look.due {
			t.Errorf("look %d, %d MiB more: due %v, want %v", i, look.mib, got, look.due)
		}
	}
}
