package main

import (
	"context"
	"runtime"
	"testing"
	"time"
)

func TestHeapPolicy(t *testing.T) {
	const mb = 1 << 20
	var p heapPolicy
	total := uint64(0)
	for i, step := range []struct {
		live, fresh uint64 // bytes
		percent     int
	}{
		{2 * mb, 3 * mb, 200},              // begun, and nobody is here: a heap of 4 MiB, and 8 more
		{10 * mb, 400 * mb, 640},           // logins, and room for 64 MiB
		{80 * mb, 400 * mb, stormPercent},  //
		{80 * mb, 90 * mb, stormPercent},   // the last of them
		{80 * mb, 10 * mb, calmPercent},    // keepalives
		{80 * mb, 19 * mb, calmPercent},    //
		{80 * mb, 21 * mb, stormPercent},   // a collection at every look would be needed
		{80 * mb, 0, calmPercent},          //
		{16 * mb, 0, 50},                   // many have left
		{3 * mb, 100 * mb, 1600},           // and come again
		{1000 * mb, 249 * mb, calmPercent}, // a few logins among very many clients
	} {
		total += step.fresh
		before := p.percent
		if change := p.look(step.live, total); p.percent != step.percent ||
			change != (before != step.percent) {
			t.Errorf("step %d: %d %%, changed %v; want %d", i, p.percent, change, step.percent)
		}
	}
}

// TestHeapPolicyCollections is a storm that is known by its collections before the next look.
func TestHeapPolicyCollections(t *testing.T) {
	const mb = 1 << 20
	now := time.Unix(1000, 0)
	var p heapPolicy
	p.look(4*mb, 0)
	for i, step := range []struct {
		after   time.Duration
		percent int
	}{
		{0, 200},                       // the first: nothing is known yet
		{heapLook, 200},                // seldom enough
		{heapLook - 1, 1600},           // a storm
		{100 * time.Millisecond, 1600}, //
		{time.Minute, 1600},            // only a look ends it
	} {
		now = now.Add(step.after)
		if p.collection(4*mb, now); p.percent != step.percent {
			t.Errorf("collection %d: %d %%, want %d", i, p.percent, step.percent)
		}
	}
	p.look(4*mb, mb)
	if p.collection(4*mb, now.Add(1)); p.percent != 200 {
		t.Errorf("the collection that ends a storm begins another: %d %%", p.percent)
	}
}

func TestTellCollections(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := make(chan struct{}, 1)
	tellCollections(ctx, told)
	for i := range 3 {
		runtime.GC()
		select {
		case <-told:
		case <-time.After(10 * time.Second):
			t.Fatalf("collection %d was not told", i)
		}
	}
}
