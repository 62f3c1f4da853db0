package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Garbage is made by logins, some 70 KB each, nearly all of it crypto/tls's; a relay whose clients
// are all there makes next to none. In a storm of logins the heap may grow to twice of what is live
// between collections, Go's own measure, and by stormRoom at least: a collection stops the loops
// twice, for a millisecond or two while handshakes keep the processors busy, and with half the room
// others would have felt it in one packet of a hundred. In a calm all this would stay
// resident, as garbage that nothing comes to collect: there the heap may grow by a quarter, which
// costs nothing when nothing is allocated.
const (
	stormPercent = 100 // Go's default
	stormRoom    = 64 << 20
	calmPercent  = 25
	calmRoom     = 8 << 20

	// heapLook tells the two apart: it is a storm if a heap of calmPercent is collected more often
	// than that, a calm if by its allocations it would not be.
	heapLook = 2 * time.Second

	// heapMin is what Go takes a smaller heap for.
	heapMin = 4 << 20
)

// heapPolicy sets how far the heap may grow. No collection is forced.
type heapPolicy struct {
	percent   int
	allocs    uint64    // bytes allocated since the start of the program, at the last look
	collected time.Time // the last collection of this calm or storm
}

// look is called every heapLook. It takes the bytes that the last collection found live and those
// allocated since the start of the program. change says that percent is a new one.
func (p *heapPolicy) look(live, allocs uint64) (change bool) {
	fresh := allocs - p.allocs
	p.allocs = allocs
	storm := fresh > max(live*calmPercent/100, calmRoom)
	if !storm {
		p.collected = time.Time{} // what the new percent itself brings about is no storm
	}
	return p.choose(live, storm)
}

// collection is called after each collection, so that a storm is known as it begins.
func (p *heapPolicy) collection(live uint64, now time.Time) (change bool) {
	again := now.Sub(p.collected) < heapLook
	p.collected = now
	return again && p.choose(live, true)
}

func (p *heapPolicy) choose(live uint64, storm bool) (change bool) {
	least, room := calmPercent, uint64(calmRoom)
	if storm {
		least, room = stormPercent, stormRoom
	}
	percent := max(least, int(room*100/max(live, heapMin)))
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
	var p heapPolicy
	tick := time.NewTicker(heapLook)
	defer tick.Stop()
	collections := make(chan struct{}, 1)
	tellCollections(ctx, collections)
	ticked := true
	for {
		metrics.Read(samples)
		live, allocs := samples[0].Value.Uint64(), samples[1].Value.Uint64()
		change := false
		if ticked {
			change = p.look(live, allocs)
		} else {
			change = p.collection(live, time.Now())
		}
		if change {
			debug.SetGCPercent(p.percent)
			runtime.KeepAlive(make([]byte, sipBytes))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			ticked = true
		case <-collections:
			ticked = false
		}
	}
}

// tellCollections sends after each collection, unless one is still to be received, until ctx ends:
// an object that nobody holds is found to be gone by each.
func tellCollections(ctx context.Context, to chan<- struct{}) {
	runtime.AddCleanup(&struct{ to chan<- struct{} }{to}, func(to chan<- struct{}) {
		if ctx.Err() != nil {
			return
		}
		tellCollections(ctx, to) // first, or the next collection might come before its object
		select {
		case to <- struct{}{}:
		default:
		}
	}, to)
}
