package netpoll

import "time"

// The states of Epoll.state, which settle who has to wake whom.
//
//	awake     the loop runs. It alone goes from here to asleep, by compare-and-swap.
//	asleep    the loop blocks in epoll_wait or is about to. Whoever swaps this for notified
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
func (l *Epoll) Wake() {
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
func (l *Epoll) Post(fn func()) bool {
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
func (l *Epoll) Stop() {
	l.stop.Store(true)
	l.Wake()
}

// sleep blocks until something is ready, a timer is due or somebody wakes the loop.
func (l *Epoll) sleep() {
	timeout := time.Duration(-1)
	if due, ok := l.due(); ok {
		timeout = due
	}
	if !l.state.CompareAndSwap(awake, asleep) {
		return
	}
	l.stats.Sleeps++
	n := pollFor(l.epoll, l.events, timeout)
	l.state.CompareAndSwap(asleep, awake) // or it stays notified
	l.next, l.ready = 0, n
}

// wake does what others have asked for since the last turn, and what was asked for at this
// time. What comes of it is told after Woken, which is the first of a turn.
func (l *Epoll) wake() {
	rings := l.alarm != 0 && l.now >= l.alarm
	if rings {
		l.alarm = 0
	}
	if l.state.Load() == notified {
		l.state.Store(awake)
		l.runPosted()
	} else if !rings {
		return
	}
	l.handler.Woken()
}

// runPosted runs the functions posted so far; what they post comes in the next turn.
func (l *Epoll) runPosted() {
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
