package registry

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
)

type member struct{ id int }

func key(n int) *Key {
	var k Key
	binary.BigEndian.PutUint64(k[:], uint64(n))
	return &k
}

func TestNewestMemberIsActiveUntilAnotherSpeaks(t *testing.T) {
	g := New[member]()
	a, b, c := &member{1}, &member{2}, &member{3}
	r, n := g.Add(key(1), a)
	if n != 1 || r.Active() != a || r.Shared() {
		t.Fatalf("after the first: %d members", n)
	}
	g.Add(key(1), b)
	g.Add(key(1), c)
	if r.Active() != c || !r.Shared() {
		t.Fatal("the newest is not active")
	}
	g.Activate(r, a)
	if r.Active() != a {
		t.Fatal("who spoke is not active")
	}
	// a leaves: c spoke (connected) after b.
	if left := g.Remove(r, a); left != c || r.Active() != c {
		t.Fatalf("active after the speaker left: %+v", left)
	}
	if got := g.Counts(); got != (Counts{Keys: 1, Conns: 2, DupKeys: 1, DupConns: 2}) {
		t.Errorf("counts %+v", got)
	}
	if left := g.Remove(r, b); left != c || r.Shared() {
		t.Error("a set of one is still shared")
	}
	if left := g.Remove(r, c); left != nil || g.Lookup(key(1)) != nil {
		t.Error("the key is still there after its last member left")
	}
	if got := g.Counts(); got != (Counts{}) {
		t.Errorf("counts %+v", got)
	}
}

func TestRemoveTwiceIsHarmless(t *testing.T) {
	g := New[member]()
	a, b := &member{1}, &member{2}
	r, _ := g.Add(key(1), a)
	g.Add(key(1), b)
	g.Remove(r, a)
	if left := g.Remove(r, a); left != b || g.Counts().Conns != 1 {
		t.Errorf("left %+v, %+v", left, g.Counts())
	}
}

func TestAgainstMap(t *testing.T) {
	g := New[member]()
	r := rand.New(rand.NewPCG(3, 4))
	model := map[int]*member{}
	routes := map[int]*Route[member]{}
	for i := range 100_000 {
		n := r.IntN(5000)
		if m := model[n]; m != nil && r.IntN(2) == 0 {
			if g.Remove(routes[n], m) != nil {
				t.Fatal("a key with one member kept it")
			}
			delete(model, n)
		} else if m == nil {
			m = &member{i}
			routes[n], _ = g.Add(key(n), m)
			model[n] = m
		}
		n = r.IntN(5000)
		found := g.Lookup(key(n))
		switch {
		case model[n] == nil && found != nil:
			t.Fatalf("step %d: key %d found after it left", i, n)
		case model[n] != nil && (found == nil || found.Active() != model[n]):
			t.Fatalf("step %d: key %d not found", i, n)
		}
	}
	if g.Counts().Keys != len(model) {
		t.Errorf("%d keys, want %d", g.Counts().Keys, len(model))
	}
	if slots := len(g.table.Load().slots); slots > 32768 {
		t.Errorf("%d slots for 5000 keys: tombstones are never cleared", slots)
	}
}

// TestLookupsNeverMissWhileTheTableGrows: a key that is there is found at any time.
func TestLookupsNeverMissWhileTheTableGrows(t *testing.T) {
	g := New[member]()
	stay := &member{1}
	g.Add(key(0), stay)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r := g.Lookup(key(0)); r == nil || r.Active() != stay {
					t.Error("a key that never left was not found")
					return
				}
			}
		})
	}
	for n := 1; n < 20_000; n++ {
		r, _ := g.Add(key(n), &member{n})
		if n%3 == 0 {
			g.Remove(r, r.Active())
		}
	}
	close(stop)
	wg.Wait()
}

func TestLookupDoesNotAllocate(t *testing.T) {
	g := New[member]()
	for n := range 1000 {
		g.Add(key(n), &member{n})
	}
	k := key(77)
	if n := testing.AllocsPerRun(100, func() { g.Lookup(k) }); n != 0 {
		t.Errorf("%v allocations a lookup", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	g := New[member]()
	for n := range 100_000 {
		g.Add(key(n), &member{n})
	}
	k := key(0)
	for i := range b.N {
		binary.BigEndian.PutUint64(k[:], uint64(i%100_000))
		if g.Lookup(k) == nil {
			b.Fatal("missing")
		}
	}
}
