package engine

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/arrival"
)

func TestSendersAreAHeap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h senders
	var all []*sender
	for range 1000 {
		s := &sender{due: rng.Int64N(500), pos: -1}
		all = append(all, s)
		h.push(s)
	}
	for _, s := range all[:300] { // from anywhere, as those whose connection ends
		if h[s.pos] != s {
			t.Fatalf("a sender that says it is at %d is not", s.pos)
		}
		h.remove(s.pos)
		if s.pos != -1 {
			t.Fatalf("a removed sender says it is at %d", s.pos)
		}
	}
	var got, want []int64
	for _, s := range all[300:] {
		want = append(want, s.due)
	}
	slices.Sort(want)
	for len(h) > 0 {
		got = append(got, h.pop().due)
	}
	if !slices.Equal(got, want) {
		t.Error("due times do not come in order, or not all")
	}
}

func TestPickFollowsTheWeights(t *testing.T) {
	sizes := []loadgen.Size{{Bytes: 1, Weight: 3}, {Bytes: 2, Weight: 1}, {Bytes: 3, Weight: 6}}
	rng := rand.NewPCG(3, 4)
	n := map[int]int{}
	const draws = 100_000
	for range draws {
		n[pick(sizes, rng).Bytes]++
	}
	for _, s := range sizes {
		got, want := float64(n[s.Bytes])/draws, s.Weight/10
		if got < want-0.01 || got > want+0.01 { // six standard deviations
			t.Errorf("size %d is drawn with %.3f, want %.3f", s.Bytes, got, want)
		}
	}
}

func TestRecordsFor(t *testing.T) {
	c := &client{}
	for n, want := range map[int]int{1: 1, 16384: 1, 16385: 2, 65573: 5} {
		if got := recordsFor(c, n); got != want {
			t.Errorf("%d bytes are %d records, want %d", n, got, want)
		}
	}
}

// TestPatience: of what TCP has held back, that is dropped which is too old; what comes late for
// another reason, and what has just become as old as that, is sent.
func TestPatience(t *testing.T) {
	const ms = int64(time.Millisecond)
	for _, of := range []struct {
		name           string
		patience       time.Duration
		heldTo, now    int64 // ms; a packet is due at 0, 1, 2, …
		next, notTaken int64
	}{
		{"endless", 0, 500, 500, 0, 0},
		{"held", 100 * time.Millisecond, 500, 500, 400, 400},
		{"held until a while ago", 100 * time.Millisecond, 300, 500, 300, 300},
		{"not held", 100 * time.Millisecond, 0, 500, 0, 0},
		{"young", 100 * time.Millisecond, 90, 90, 0, 0},
	} {
		g := group(func(g *loadgen.Group) { g.Patience = of.patience })
		l := &loop{
			e:      &Engine{job: loadgen.Job{Workload: loadgen.Workload{Groups: []loadgen.Group{g}}}},
			run:    &run{from: 100 * ms, until: 1000 * ms},
			counts: counts{groups: make([]tally, 1)},
		}
		every := loadgen.Arrival{Kind: loadgen.Constant}
		s := &sender{heldTo: of.heldTo * ms,
			streams: []stream{{source: arrival.New(every, 1000, 0, 1, 0)}}}
		st, due := l.timely(s, of.now*ms)
		n := l.groups[0]
		if st == nil || due != of.next*ms || n.notAccepted != uint64(of.notTaken) ||
			n.due != n.notAccepted || n.winDue != uint64(max(0, of.notTaken-100)) {
			t.Errorf("%s: the next is due at %d ms, %+v; want %d ms and %d dropped", of.name, due/ms, n,
				of.next, of.notTaken)
		}
	}
}
