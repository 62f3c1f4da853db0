package netpoll

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// leftLoop counts what Wakes does to it.
type leftLoop struct {
	Loop
	ended       bool
	left, woken int
	meanwhile   func() // what somebody else does when it is woken
}

func (l *leftLoop) Leave(func()) bool {
	if !l.ended {
		l.left++
	}
	return !l.ended
}

func (l *leftLoop) Wake() {
	l.woken++
	if l.meanwhile != nil {
		l.meanwhile()
	}
}

func TestWakes(t *testing.T) {
	var w Wakes
	loops := []*leftLoop{{}, {}, {ended: true}, {}}
	for i, l := range loops {
		if n := w.Add(l); n != i {
			t.Errorf("loop %d has number %d", i, n)
		}
	}
	woken := func() (n []int) {
		for _, l := range loops {
			n = append(n, l.woken)
		}
		return n
	}
	check := func(when string, want ...int) {
		t.Helper()
		if got := woken(); !slices.Equal(got, want) {
			t.Errorf("%s: woken %v times, want %v", when, got, want)
		}
	}
	w.Settle(0)
	check("nothing was left", 0, 0, 0, 0)
	if !w.Leave(0, nil) || !w.Leave(3, nil) || !w.Leave(3, nil) || w.Leave(2, nil) {
		t.Error("Leave says something else than the loop")
	}
	if loops[0].left != 1 || loops[3].left != 2 {
		t.Errorf("left for %+v", loops)
	}
	w.Settle(time.Hour)
	check("an hour has not passed", 0, 0, 0, 0)
	for began := time.Now(); time.Since(began) < time.Millisecond; {
	}
	w.Settle(time.Millisecond)
	check("a millisecond has passed", 1, 0, 0, 1)
	w.Settle(0)
	check("nothing new was left", 1, 0, 0, 1)
	w.Leave(1, nil)
	w.Settle(0)
	check("one more was left", 1, 1, 0, 1)

	w.Leave(1, nil)
	w.Done(0)
	check("the last piece is done", 1, 2, 0, 1)
	w.Leave(1, nil)
	w.since.Store(monotonic() + int64(time.Hour)) // however long this test is kept waiting
	w.Done(1)
	before := loops[1].woken
	w.since.Store(monotonic() - int64(settleMax))
	w.Done(1)
	if before != 2 || loops[1].woken != 3 {
		t.Errorf("more waits: woken %d times before it was due, and %d then", before, loops[1].woken)
	}
	loops[1].woken = 1

	loops[1].meanwhile = func() { w.Leave(0, nil); w.Settle(time.Hour) }
	w.Leave(1, nil)
	w.Settle(0) // has passed loop 0 when something is left for it
	check("one was left meanwhile", 1, 2, 0, 1)
	w.Settle(0)
	check("and is not forgotten", 2, 2, 0, 1)
}

// Two leave at once and settle, and nobody else does until both have run: one whose wake-up were
// lost would wait for ever.
func TestWakesRaces(t *testing.T) { eachEngine(t, testWakesRaces) }

func testWakesRaces(t *testing.T) {
	const leavers, rounds = 2, 2000
	p := &probe{}
	runLoop(t, p, Config{})
	var w Wakes
	w.Add(p.loop)
	var all sync.WaitGroup
	var ran atomic.Int32
	for range leavers {
		all.Go(func() {
			for n := range rounds {
				if !w.Leave(0, func() { ran.Add(1) }) {
					t.Error("the loop has ended")
					return
				}
				w.Settle(0)
				for began := time.Now(); ran.Load() < leavers*int32(n+1); runtime.Gosched() {
					if time.Since(began) > patience {
						t.Errorf("round %d: what was left is not run", n)
						return
					}
				}
			}
		})
	}
	all.Wait()
}
