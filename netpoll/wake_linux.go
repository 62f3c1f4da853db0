package netpoll

import (
	"sync"
	"sync/atomic"
)

// waker is how a loop is told to do something: by other goroutines, or at a time.
type waker struct {
	alarm int64 // when Woken is wanted; 0: not. The loop's

	state   atomic.Uint32 // awake, asleep or notified
	stop    atomic.Bool   // set by Stop, read by Run after each turn
	wakeups atomic.Uint64 // counted by whoever wakes, read by Stats
	mu      sync.Mutex    // guards what follows
	posted  []func()
	spare   []func() // what posted becomes when the loop takes it; the loop's
	eventfd int
	over    bool // posted functions will not run any more
}

// The states of waker.state, which settle who has to wake whom.
//
//	awake     the loop runs. It alone goes from here to asleep, by compare-and-swap.
//	asleep    the loop blocks in the kernel or is about to. Whoever swaps this for notified
//	          owes it the write to the eventfd.
//	notified  somebody called Wake since the loop last looked. Only the loop leaves this
//	          state, at the start of a turn and before it calls Woken.
//
// No wake-up is lost: what a caller published before Wake is either seen by the turn that
// is about to leave notified, or Wake leaves notified behind for the next turn.
const (
	awake = iota
	asleep
	notified
)

// Wake implements Loop.
func (l *waker) Wake() {
	if l.state.Load() == notified || l.state.Swap(notified) != asleep {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// The loop may have been woken by something else meanwhile, and have ended; then the
	// number of the eventfd may be another file's.
	if !l.over {
		l.wakeups.Add(1)
		signal(l.eventfd)
	}
}

// Post implements Loop.
func (l *waker) Post(fn func()) bool {
	l.mu.Lock()
	if l.over {
		l.mu.Unlock()
		return false
	}
	l.posted = append(l.posted, fn)
	l.mu.Unlock()
	l.Wake()
	return true
}

// Stop implements Loop.
func (l *waker) Stop() {
	l.stop.Store(true)
	l.Wake()
}

// runPosted runs the functions posted so far; what they post comes in the next turn.
func (l *waker) runPosted() {
	l.mu.Lock()
	fns := l.posted
	l.posted = l.spare[:0]
	l.mu.Unlock()
	for i, fn := range fns {
		fns[i] = nil
		fn()
	}
	l.spare = fns
}

// endPosts runs the last posted functions and takes no more.
func (l *waker) endPosts() {
	// No more are taken before the last are run, or busy posters would keep it going.
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
	l.runPosted()
}

// WakeAt implements Loop.
func (l *waker) WakeAt(at int64) { l.alarm = at }

// wake does what others have asked for since the last turn, and what was asked for at this
// time. What comes of it is told after Woken, which is the first of a turn.
func (l *waker) wake(now int64, handler Handler) {
	rings := l.alarm != 0 && now >= l.alarm
	if rings {
		l.alarm = 0
	}
	if l.state.Load() == notified {
		l.state.Store(awake)
		l.runPosted()
	} else if !rings {
		return
	}
	handler.Woken()
}
