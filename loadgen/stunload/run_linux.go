package stunload

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"derpd/loadgen"
	"derpd/loadgen/arrival"
	"derpd/stun"
)

// run is the state of one Run. Times are ns from its start.
type run struct {
	*Generator
	start    time.Time
	schedule *schedule // nil: as fast as answers come
	table    table
	from, to int64 // the measured window
	end      int64 // of the drain
	busy     bool

	oldest   uint64  // without a schedule: all before it were answered or given up
	inFlight int     // without a schedule: due, and neither answered nor given up
	turnOf   int     // without a schedule: the socket that asks next
	queued   int     // over all sockets
	waiting  []int32 // sockets whose queue is not empty
	more     bool    // this turn has not sent all that the kernel would take
	settled  bool    // nothing is sent any more
	asked    uint64  // requests that were sent, of the whole run
	answers  uint64  // right ones, of the whole run
	failed   unix.Errno

	worked int64 // in the window
	slept  int64 // in this turn
	active bool  // this turn did something

	result Result
}

// Result is what came of a Run, and what time the generator had to spare.
type Result struct {
	loadgen.STUNResult
	// Partial: the context ended before all was asked and answered, or waited for.
	Partial bool
	// Idle is the share of the window in which there was nothing to do.
	Idle float64
	// Lag is how far behind their due time requests were sent that the kernel would have taken.
	Lag *loadgen.Hist
}

// Run asks for warm and window, and then waits for the answers that are missing, but no longer than
// drain. perSecond is the rate over all sockets, each with a schedule of its own; 0 asks as fast as
// answers come, with 128 requests in flight, and looks at no Arrival. busy never sleeps. What was
// due in the window and is not sent a moment after it, since the kernel took nothing or the
// generator was too slow, is not sent at all.
//
// When ctx ends early, the result is what there is, and no error. If the kernel has told why
// nothing gets through and not a single right answer came, the error says it, beside the result.
func (g *Generator) Run(ctx context.Context, a loadgen.Arrival, perSecond float64,
	warm, window, drain time.Duration, busy bool) (*Result, error) {
	r, err := g.newRun(a, perSecond, warm, window, drain)
	if err != nil {
		return nil, err
	}
	r.busy = busy
	if !busy {
		defer sleepExactly()()
	}
	r.start = time.Now()
	for r.turn() {
		if ctx.Err() != nil {
			r.result.Partial = true
			break
		}
	}
	r.settle()
	r.finish()
	if r.answers == 0 && r.failed != 0 {
		return &r.result, fmt.Errorf("stun load: nothing gets through to %v: %w: "+
			"is a STUN server there?", g.target, r.failed)
	}
	return &r.result, nil
}

func (g *Generator) newRun(a loadgen.Arrival, perSecond float64,
	warm, window, drain time.Duration) (*run, error) {
	if len(g.sockets) == 0 {
		return nil, errors.New("stun load: Run after Close")
	}
	if !(perSecond >= 0 && perSecond <= perSecondMax) {
		return nil, fmt.Errorf("stun load: %v requests a second: give 0 (as fast as answers come)"+
			" to %g", perSecond, perSecondMax)
	}
	if warm < 0 || window <= 0 || drain < 0 {
		return nil, fmt.Errorf("stun load: warm-up %v, window %v, drain %v: "+
			"none may be below 0, and the window must be longer", warm, window, drain)
	}
	r := &run{Generator: g, oldest: g.next,
		from: int64(warm), to: int64(warm + window), end: int64(warm + window + drain),
		result: Result{STUNResult: loadgen.STUNResult{Latency: loadgen.NewHist()},
			Lag: loadgen.NewHist()}}
	if perSecond > 0 {
		if err := arrival.Check(a); err != nil {
			return nil, fmt.Errorf("stun load: %w", err)
		}
		r.schedule = newSchedule(a, perSecond, len(g.sockets), g.seed^g.next)
	}
	r.table = newTable(int(perSecond * rememberFor.Seconds()))
	return r, nil
}

// sleepExactly ties the goroutine to its thread and takes the slack of 50 µs off the thread's
// sleeps, which would otherwise count as latency of the server. The returned function undoes both.
func sleepExactly() (undo func()) {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // a kernel without it sleeps as it does
	return func() {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // 0: the thread's default
		runtime.UnlockOSThread()
	}
}

func (r *run) now() int64 { return int64(time.Since(r.start)) }

// turn queues what is due, sends, and receives; false when the run is over.
func (r *run) turn() bool {
	now := r.now()
	r.active, r.more, r.slept = false, false, 0
	if now >= r.to+int64(r.grace) {
		r.settle()
	}
	switch {
	case r.settled:
	case r.schedule != nil:
		r.queueDue(min(now, r.to-1))
	default:
		r.giveUp(now)
		if now < r.to {
			r.queueMore(now)
		}
	}
	answered := r.queued == 0 && r.answers == r.asked
	if now >= r.end || now >= r.to && answered {
		return false
	}
	blocked := r.waiting[:0]
	for _, number := range r.waiting {
		if !r.flush(number) {
			blocked = append(blocked, number)
		}
	}
	r.waiting = blocked
	if r.busy {
		r.receive(0)
	} else {
		r.receive(r.sleep(now))
	}
	if r.active { // what of the turn is in the window
		r.worked += max(0, min(r.now(), r.to)-max(now, r.from)-r.slept)
	}
	return true
}

// settle ends the sending: what is queued stays unsent.
func (r *run) settle() {
	if r.settled {
		return
	}
	r.settled = true
	for i := range r.sockets {
		r.sockets[i].forget()
	}
	r.waiting, r.queued = r.waiting[:0], 0
}

// finish adds up. What the schedule had for a time that nobody came to was due as well; in a run
// that was ended early the window ends there.
func (r *run) finish() {
	r.to = max(min(r.to, r.now()), r.from+1)
	if r.schedule != nil {
		r.result.Due += r.schedule.rest(r.from, r.to)
	}
	r.result.Asked, r.result.Lost = r.asked, r.asked-r.answers
	r.result.Idle = max(0, 1-float64(r.worked)/float64(r.to-r.from))
}

// inWindow tells whether a time is in the measured window.
func (r *run) inWindow(at int64) bool { return at >= r.from && at < r.to }

// queueDue queues what is due by the schedule up to that time.
func (r *run) queueDue(until int64) {
	for r.queued < queuedMax {
		due := r.schedule.due()
		if due > until {
			return
		}
		r.queue(r.schedule.take(), due)
	}
}

// queue lets a request of a socket wait for the next flush.
func (r *run) queue(number int32, due int64) {
	s := &r.sockets[number]
	if len(s.queue) == 0 {
		r.waiting = append(r.waiting, number)
	}
	s.queue = append(s.queue, due)
	r.queued++
	if r.inWindow(due) {
		r.result.Due++
	}
}

// queueMore queues as many requests as may be in flight, due now, in batches of a socket.
func (r *run) queueMore(now int64) {
	for r.inFlight < inFlightMax {
		for n := min(batchMessages, inFlightMax-r.inFlight); n > 0; n-- {
			r.queue(int32(r.turnOf), now)
			r.inFlight++
		}
		r.turnOf = (r.turnOf + 1) % len(r.sockets)
	}
}

// giveUp makes room for requests in place of those that were sent long ago.
func (r *run) giveUp(now int64) {
	for ; r.oldest < r.next; r.oldest++ {
		e := r.table.get(r.oldest)
		if e == nil || e.state != stateAsked {
			continue
		}
		if now-e.due < int64(giveUpAfter) {
			return
		}
		e.state = stateGivenUp
		r.left()
	}
}

// flush sends the queue of a socket; false if not all of it, since the kernel did not take it or it
// is more than a turn's share.
func (r *run) flush(number int32) (all bool) {
	s := &r.sockets[number]
	if s.held {
		s.held, s.heldTo = false, r.now()
	}
	done := 0
	for tries, batches := 0, 0; done < len(s.queue); batches++ {
		if batches == turnBatches {
			r.more = true
			break
		}
		now := r.now()
		batch := s.queue[done:min(len(s.queue), done+batchMessages)]
		for i := range batch {
			r.out.ask(i, transaction(r.next+uint64(i), r.seed))
		}
		n, errno := r.out.send(s.fd, len(batch))
		for _, due := range batch[:n] {
			r.sent(number, due, now)
		}
		done += n
		if errno == 0 {
			tries = 0
			continue
		}
		if errno == unix.EAGAIN || errno == unix.ENOBUFS {
			s.held = true
			break // the socket's buffer or the interface's queue is full
		}
		if errno == unix.EINTR {
			continue
		}
		r.failed = errno
		if tries++; tries == sendTries { // the kernel does not want it: it counts as not sent
			tries = 0
			done++
			r.left()
		}
	}
	r.queued -= done
	s.queue = s.queue[:copy(s.queue, s.queue[done:])]
	return len(s.queue) == 0
}

// sent enters a request that the kernel has taken.
func (r *run) sent(number int32, due, now int64) {
	r.active = true
	if forgotten := r.table.put(r.next, due, number); forgotten {
		r.left()
	}
	r.next++
	r.asked++
	if r.inWindow(now) {
		r.result.Sent++
	}
	if r.inWindow(due) && r.schedule != nil && due >= r.sockets[number].heldTo {
		r.result.Lag.Record(time.Duration(now - due))
	}
}

// left makes room for a request in place of one that nobody waits for any more.
func (r *run) left() {
	if r.schedule == nil {
		r.inFlight--
	}
}

// forget empties the queue and keeps its memory.
func (s *socket) forget() { s.queue, s.held, s.heldTo = s.queue[:0], false, 0 }

// sleep is how long there is nothing to do unless an answer comes, ns.
func (r *run) sleep(now int64) int64 {
	until := min(now+int64(sleepMax), r.end)
	switch {
	case now < r.to && r.schedule != nil:
		until = min(until, r.schedule.due(), r.to)
	case now < r.to:
		until = min(until, r.to)
	}
	if r.more {
		return 0
	}
	if r.queued > 0 {
		until = min(until, now+int64(retryPause))
	}
	return max(until-r.now(), 0)
}

// receive waits at most that many ns for answers and judges what is there.
func (r *run) receive(wait int64) {
	if wait > 0 { // epoll itself counts in ms
		timeout := unix.NsecToTimespec(wait)
		began := r.now()
		n, err := unix.Ppoll(r.wait[:], &timeout, nil)
		r.slept += r.now() - began
		if n == 0 && err == nil {
			return
		}
	}
	n, err := unix.EpollWait(r.epoll, r.events[:], 0)
	if err != nil {
		return // EINTR alone is possible: the next turn asks again
	}
	for _, event := range r.events[:n] {
		r.drain(event.Fd)
	}
}

// drain takes what a socket has, but for what is more than a turn's share.
func (r *run) drain(number int32) {
	for range turnBatches {
		n, errno := r.in.receive(r.sockets[number].fd)
		if errno != 0 {
			if errno != unix.EAGAIN && errno != unix.EINTR {
				r.failed = errno
			}
			return
		}
		now := r.now()
		r.active = r.active || n > 0
		for i := range n {
			r.judge(r.in.got(i), number, now)
		}
		if n < batchMessages {
			return
		}
	}
}

// judge counts an answer that a socket has got.
func (r *run) judge(b []byte, number int32, now int64) {
	id, mapped, ok := stun.ParseReply(b)
	seq, ours := sequence(id, r.seed)
	if !ok || !ours || seq >= r.next {
		r.result.Wrong++
		return
	}
	e := r.table.get(seq)
	if e == nil {
		return // of an earlier run, or forgotten
	}
	if e.socket != number || mapped != r.sockets[number].local || e.state == stateAnswered {
		r.result.Wrong++
		return
	}
	if e.state == stateAsked {
		r.left()
	}
	e.state = stateAnswered
	r.answers++
	if r.inWindow(now) {
		r.result.Answered++
	}
	if r.inWindow(e.due) {
		r.result.Latency.Record(time.Duration(now - e.due))
	}
}
