package fakepoll

import (
	"syscall"
	"time"

	"derpd/netpoll"
)

// runnable tells whether a turn would find something to do.
func (l *Loop) runnable() bool {
	return len(l.ready) > 0 || l.acceptable || l.pending.Load()
}

// turn runs one turn: posted functions, Woken, completions in any order, Flush.
func (l *Loop) turn(spurious bool) {
	w := l.world
	w.current, l.now = l, w.now
	defer func() { w.current = nil }()
	l.asleep.Store(false)
	l.stats.Turns++
	w.note(eventTurn, l, 0, len(l.ready), nil, nil)
	limit := len(l.arena.clean)
	if w.chance(w.faults.SmallArena) {
		limit = w.part(limit)
	}
	if !l.arena.begin(limit) {
		w.Violation("loop %d: received bytes were written to after their Flush", l.id)
	}
	woken, stopping := l.runPosts()
	if woken || spurious {
		w.note(eventWoken, l, 0, 0, nil, nil)
		l.handler.Woken()
	}
	if stopping {
		l.end()
		return
	}
	l.complete()
	l.flush()
	w.now += turnCostMin
	if w.faults != (Faults{}) {
		w.now += time.Duration(w.rng.Int64N(int64(turnCostSpread)))
	}
	if !l.runnable() {
		l.stats.Sleeps++
		l.asleep.Store(true)
	}
}

// runPosts runs what was posted before this turn and tells what else other sides asked for.
func (l *Loop) runPosts() (woken, stopping bool) {
	l.mu.Lock()
	l.running, l.posts = l.posts, l.running[:0]
	woken, stopping = l.woken, l.stopping
	l.woken = false
	l.pending.Store(stopping)
	l.mu.Unlock()
	for i, fn := range l.running {
		l.running[i] = nil
		fn()
		l.stats.Posts++
	}
	return woken, stopping
}

// complete delivers accepts, completions and timeouts.
func (l *Loop) complete() {
	acceptFirst := l.world.rng.IntN(2) == 0
	if acceptFirst {
		l.accept()
	}
	if l.serve() && l.world.rng.IntN(2) == 0 {
		l.serve() // what the first round caused may come in the same turn
	}
	if !acceptFirst {
		l.accept()
	}
}

// serve delivers what is ready now. False: the turn was cut.
func (l *Loop) serve() bool {
	l.batch, l.ready = l.ready, l.batch[:0]
	n := len(l.batch)
	if n > 1 && l.world.chance(l.world.faults.ReorderReady) {
		l.world.rng.Shuffle(n, func(i, j int) {
			l.batch[i], l.batch[j] = l.batch[j], l.batch[i]
		})
		n = 1 + l.world.rng.IntN(n)
	}
	for i, c := range l.batch[:n] {
		c.queued = false
		if !c.gone && !c.deliver() {
			l.leave(i + 1)
			return false
		}
	}
	l.leave(n)
	return true
}

// leave puts what the turn did not get to, from i on, ahead of what became ready meanwhile.
func (l *Loop) leave(i int) {
	if i == len(l.batch) {
		return
	}
	rest := append(l.batch[:0], l.batch[i:]...)
	l.batch, l.ready = l.ready, append(rest, l.ready...)
}

// enqueue makes a connection ready.
func (l *Loop) enqueue(c *conn) {
	if !c.queued && !c.gone {
		c.queued = true
		l.ready = append(l.ready, c)
	}
}

// accept takes peers from the backlog, in order.
func (l *Loop) accept() {
	w := l.world
	if !l.acceptable {
		return
	}
	for len(l.backlog) > 0 {
		if at := l.backlog[0].at; at > w.now {
			l.acceptLater(at)
			return
		}
		if w.chance(w.faults.AcceptFail) && l.acceptFails < acceptFailuresInRowMax {
			l.acceptFails++
			l.stats.AcceptErrors++
			w.note(eventAcceptFailed, l, 0, l.acceptFails, nil, syscall.EMFILE)
			l.acceptLater(w.now + acceptRetryDelay)
			return
		}
		l.acceptFails = 0
		p := l.backlog[0].peer
		l.backlog[0] = arrival{}
		if l.backlog = l.backlog[1:]; len(l.backlog) == 0 {
			l.acceptable = false
		}
		l.admit(p)
		if w.rng.IntN(4) == 0 {
			return // the others in the next turn
		}
	}
	l.acceptable = false
}

// admit makes an accepted peer a connection or, if the table is full, closes it.
func (l *Loop) admit(p *Peer) {
	c := newConn(l)
	if l.take(c) {
		c.accepted(p)
		return
	}
	l.stats.AcceptsFull++
	l.world.note(eventAcceptFailed, l, 0, 0, nil, netpoll.ErrTooMany)
	p.loopEnded(p.toLoop.len() > 0)
}

func (l *Loop) acceptLater(at time.Duration) {
	l.acceptable = false
	l.world.timers.arm(&l.acceptTimer, at)
}

func (l *Loop) flush() {
	l.world.note(eventFlush, l, 0, 0, nil, nil)
	l.handler.Flush()
	l.arena.end()
}

// end is the last turn, after Stop: everything is closed and posts run to the last.
func (l *Loop) end() {
	l.closing = true
	for _, a := range l.backlog {
		a.peer.loopEnded(true)
	}
	l.backlog, l.acceptable = nil, false
	l.world.timers.stop(&l.acceptTimer)
	l.world.timers.stop(&l.alarm)
	for i := range l.slots {
		if c := l.slots[i].conn; c != nil {
			c.stop()
		}
	}
	l.flush()
	for {
		l.mu.Lock()
		if len(l.posts) == 0 {
			l.ended.Store(true)
			l.pending.Store(false)
			l.mu.Unlock()
			break
		}
		l.mu.Unlock()
		l.runPosts()
	}
	l.ready, l.batch = nil, nil
	l.world.note(eventEnded, l, 0, 0, nil, netpoll.ErrStopped)
}
