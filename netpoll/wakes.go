package netpoll

import (
	"sync/atomic"
	"time"
)

// Wakes lets goroutines that compute for loops share wake-ups: of what they leave for a loop within
// a short time it learns by one. That matters where the loop's processor is theirs too, since each
// wake-up interrupts one of them. Add is for before the first Leave; the others may be called by
// any goroutine.
type Wakes struct {
	since atomic.Int64 // when the first was left that may not have been told; 0: none
	loops []wakesLoop
}

// wakesLoop is a loop, and whether something was left there since it was last woken.
type wakesLoop struct {
	Loop
	left atomic.Bool
}

// Add makes a loop known, by a number of its own.
func (w *Wakes) Add(l Loop) (number int) {
	old := w.loops
	w.loops = make([]wakesLoop, len(old)+1)
	for i := range old {
		w.loops[i].Loop = old[i].Loop
	}
	w.loops[len(old)].Loop = l
	return len(old)
}

// Leave leaves fn for a loop; false: it has ended, and fn will not run. Somebody owes a Settle.
func (w *Wakes) Leave(number int, fn func()) bool {
	l := &w.loops[number]
	if !l.Loop.Leave(fn) {
		return false
	}
	l.left.Store(true)
	if w.since.Load() == 0 {
		w.since.CompareAndSwap(0, monotonic())
	}
	return true
}

// settleMax is how long goroutines with more to do let a loop wait to be told of what they have
// done: as long as a few steps of a handshake take. Where so much waits, each waits far longer for
// its turn.
const settleMax = time.Millisecond

// Done is the Settle of one of several goroutines that share a queue, after each piece of work.
// While more of it waits, so do the loops: whoever does the last piece wakes them.
func (w *Wakes) Done(waiting int) {
	if waiting > 0 {
		w.Settle(settleMax)
	} else {
		w.Settle(0)
	}
}

// Settle wakes all loops for which something was left, if the first of it was so long ago.
func (w *Wakes) Settle(after time.Duration) {
	since := w.since.Load()
	if since == 0 || time.Duration(monotonic()-since) < after {
		return
	}
	w.since.Store(0) // first: what is left from now on is either seen below or begins another wait
	for i := range w.loops {
		if l := &w.loops[i]; l.left.Load() && l.left.Swap(false) {
			l.Wake()
		}
	}
}
