package engine

import (
	"math/rand/v2"
	"slices"
	"testing"

	"derpd/loadgen"
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
