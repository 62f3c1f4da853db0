package netpoll

import (
	"sync"
	"sync/atomic"
)

// waker is how a loop is told to do something: by other goroutines, or at a time.
type waker struct {
	// The loop's.
	alarm int64  // when Woken is wanted; 0: not
	posts uint64 // functions run

	state   atomic.Uint32        // awake, asleep or notified
	stop    atomic.Bool          // set by Stop, read by Run after each turn
	wakeups atomic.Uint64        // counted by whoever wakes, read by Stats
	posted  atomic.Pointer[post] // the last first; noMore at the end

	// rings is held while the eventfd is written, which the loop may notice at once: it must not
	// need what a waker holds, for the scheduler may let it go on only after others.
	rings   sync.Mutex
	eventfd int
	over    bool // the eventfd is not the loop's any more
}

// post is a function to run, and the one posted before.
type post struct {
	fn   func()
	next *post
}

// noMore stands in waker.posted when no function will run any more.
var noMore post

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
	l.rings.Lock()
	defer l.rings.Unlock()
	// The loop may have been woken by something else meanwhile, and have ended; then the
	// number of the eventfd may be another file's.
	if !l.over {
		l.wakeups.Add(1)
		signal(l.eventfd)
	}
}

// Post implements Loop.
func (l *waker) Post(fn func()) bool {
	if !l.Leave(fn) {
		return false
	}
	l.Wake()
	return true
}

// Leave implements Loop.
func (l *waker) Leave(fn func()) bool {
	p := &post{fn: fn}
	for {
		p.next = l.posted.Load()
		if p.next == &noMore {
			return false
		}
		if l.posted.CompareAndSwap(p.next, p) {
			return true
		}
	}
}

// Stop implements Loop.
func (l *waker) Stop() {
	l.stop.Store(true)
	l.Wake()
}

// run runs the functions of a list, the last first, and returns how many.
func (p *post) run() (n uint64) {
	var first *post
	for p != nil {
		next := p.next
		p.next = first
		first, p = p, next
	}
	for p = first; p != nil; p = p.next {
		p.fn()
		n++
	}
	return n
}

// endPosts runs the last posted functions and takes no more, and no wake-ups.
func (l *waker) endPosts() {
	l.rings.Lock()
	l.over = true
	l.rings.Unlock()
	// No more are taken before the last are run, or busy posters would keep it going.
	l.posts += l.posted.Swap(&noMore).run()
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
	called := l.state.Load() == notified
	if called {
		l.state.Store(awake)
	}
	if l.posted.Load() != nil {
		l.posts += l.posted.Swap(nil).run() // what these post comes in the next turn
	}
	if called || rings {
		handler.Woken()
	}
}
