package main

import "testing"

func TestHeapPolicy(t *testing.T) {
	const mb = 1 << 20
	var p heapPolicy
	total := uint64(0)
	for i, step := range []struct {
		live, fresh uint64 // bytes
		percent     int
	}{
		{2 * mb, 3 * mb, 200},              // begun, and nobody is here: a heap of 4 MiB, and 8 more
		{10 * mb, 400 * mb, 320},           // logins, and room for 32 MiB
		{80 * mb, 400 * mb, stormPercent},  //
		{80 * mb, 90 * mb, stormPercent},   // the last of them
		{80 * mb, 10 * mb, calmPercent},    // keepalives
		{80 * mb, 19 * mb, calmPercent},    //
		{80 * mb, 21 * mb, stormPercent},   // a collection at every look would be needed
		{80 * mb, 0, calmPercent},          //
		{16 * mb, 0, 50},                   // many have left
		{3 * mb, 100 * mb, 800},            // and come again
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
