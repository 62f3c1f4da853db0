package engine

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"derpd/loadgen"
	"derpd/loadgen/arrival"
	"derpd/loadgen/stunload"
	"derpd/netpoll"
)

// run is one step as the loops see it. All but settled is fixed when they get it; times are those
// of netpoll.Clock.
type run struct {
	number  uint8
	start   int64 // of the schedules
	from    int64 // of the window
	until   int64
	step    loadgen.Step
	settled bool // a loop's own copy: nothing is sent any more
}

// Step implements loadgen.Fleet.
func (e *Engine) Step(ctx context.Context, s loadgen.Step) (*loadgen.StepResult, error) {
	return e.StepAt(ctx, s, 0)
}

// StepAt is Step with a given start of its schedules, in nanoseconds of CLOCK_MONOTONIC, so that
// several processes start together; 0 is as soon as everything is prepared.
func (e *Engine) StepAt(ctx context.Context, s loadgen.Step, start int64) (*loadgen.StepResult,
	error) {
	if s.Window <= 0 || s.Warm < 0 || s.Drain < 0 || s.Rate < 0 {
		return nil, fmt.Errorf("loadgen: a step of rate %v with warm-up %v, window %v and drain %v: "+
			"the window must be above 0, nothing below", s.Rate, s.Warm, s.Window, s.Drain)
	}
	defer roomForGarbage()()
	e.steps++
	soonest := netpoll.Clock() + int64(leadSpan+lookSpan)
	if start == 0 {
		start = netpoll.Clock() + int64(e.job.Lead(&s))
	} else {
		start = max(start-absolute(), soonest)
	}
	r := run{number: e.steps, start: start, from: start + int64(s.Warm), step: s}
	r.until = r.from + int64(s.Window)
	for i := range e.arrived {
		e.arrived[i].packets.Store(0)
	}
	x := &execution{e: e, run: r, before: e.look(true)}
	e.each(func(l *loop) { l.prepare(r) })
	e.readmit.Store(0) // of a cut in an earlier step
	x.result = loadgen.StepResult{Step: s, Processes: 1,
		Began: time.Now().Add(time.Duration(start - netpoll.Clock()))}
	stun, err := e.startSTUN(ctx, &r)
	if err != nil {
		return nil, err
	}
	x.send(ctx)
	x.drain(ctx)
	x.askAll(ctx)
	if stun != nil {
		if err := stun(x); err != nil {
			return nil, err
		}
	}
	x.finish()
	e.progress.enter(loadgen.PhaseReady, 0)
	return &x.result, nil
}

// prepare gives a loop its part of a step, and seals what it can before that begins.
func (l *loop) prepare(r run) {
	l.run = &r
	l.wrong, l.stale, l.busy, l.asked, l.answered = loadgen.Wrong{}, 0, 0, 0, 0
	l.lag.Reset()
	l.failures = nil
	for i := range l.groups {
		h := l.groups[i].latency
		h.Reset()
		l.groups[i] = tally{latency: h}
	}
	var all []*sender
	for _, i := range l.own {
		c := &l.e.clients[i]
		for _, f := range l.e.incoming[i] {
			l.e.receiving[f] = receiving{held: l.e.readingOf(c) != loadgen.Reading{}}
		}
		l.startReading(c)
		c.away = false
		if c.out != nil {
			l.arm(c.out, &r)
			all = append(all, c.out)
		}
	}
	l.poll.SetBusy(r.step.Busy && l.e.mayPoll(l))
	l.sealAhead(all, &r)
	for _, s := range all {
		if s.c.phase == phaseOpen {
			l.startSender(s)
		}
	}
}

// mayPoll tells whether a loop has a use for a processor of its own. One without clients has
// nothing to poll for (STUN's generator has a use for its processor), and the one of OwnLoop would
// take from the others what it does not need.
func (e *Engine) mayPoll(l *loop) bool {
	others := len(e.clients) - len(l.own)
	return len(l.own) > 0 && (l.id < e.opt.Loops || others == 0)
}

// arm sets the schedules of a sender.
func (l *loop) arm(s *sender, r *run) {
	s.heldTo, s.room, s.full = 0, 0, false
	for i := range s.streams {
		st := &s.streams[i]
		f := &l.e.flows[st.flow]
		g := &l.e.job.Workload.Groups[st.group]
		st.full, st.cut, st.sent = g.FullSpeed(), false, 0
		seed := l.e.opt.Seed ^ uint64(r.number)<<56 ^ uint64(l.e.opt.Part)<<40 ^ uint64(st.group)<<32
		index, of := int(f.index), int(f.of)
		if g.BothWays { // both directions of a group are one set of senders
			index, of = 2*index, 2*of
			if f.back {
				index++
			}
		}
		s.full = s.full || st.full
		if !st.full {
			st.source = arrival.New(g.Arrival, perSender(g, &r.step), index, of, seed)
		}
	}
	s.rng.Seed(l.e.opt.Seed^uint64(r.number), uint64(s.c.index))
}

// sealAhead fills the senders' batches within the budget, until shortly before the step begins.
func (l *loop) sealAhead(all []*sender, r *run) {
	if len(all) == 0 || l.e.opt.Ahead <= 0 {
		return
	}
	share := int(l.e.opt.Ahead) / len(l.e.loops) / len(all) / 2 // two batches
	for _, s := range all {
		s.room = min(max(share, batchBytesMin), batchBytesMax)
		if l.impatient(s) { // what is sealed cannot be dropped
			s.room = batchBytesMin
		}
	}
	for _, s := range all {
		for l.fill(s, r.start, sealsPerTurn) {
			if netpoll.Clock() > r.start-int64(leadSpan) {
				return
			}
		}
	}
}

func (e *Engine) readingOf(c *client) loadgen.Reading {
	at := &e.clientsAt[c.index]
	if at.group < 0 || !at.reader {
		return loadgen.Reading{}
	}
	return e.job.Workload.Groups[at.group].Reading
}

// startReading makes a receiver slow for the length of a step.
func (l *loop) startReading(c *client) {
	r := l.e.readingOf(c)
	if r == (loadgen.Reading{}) || c.h == 0 {
		return
	}
	c.slow = &slowReader{bytesPerSecond: r.BytesPerSecond, never: r.Never}
	if r.Never {
		l.poll.PauseReceive(c.h)
		return
	}
	// A tenth of a second's worth at a time.
	l.poll.SetReceiveMax(c.h, max(r.BytesPerSecond/10, 1<<10))
}

func (l *loop) stopReading(c *client) {
	if c.slow == nil {
		return
	}
	c.slow = nil
	l.poll.SetReceiveMax(c.h, 0)
	l.poll.ResumeReceive(c.h)
	if c.phase == phaseOpen {
		l.poll.SetTimeout(c.h, 0)
	}
}

// execution is a step under way, as its caller sees it.
type execution struct {
	e       *Engine
	run     run
	before  look
	result  loadgen.StepResult
	stun    *stunload.Result // nil: none was asked for
	last    look             // at the last sample
	cpuAt   [2]loadgen.CPU
	stopped bool    // by the context, before all was done
	churn   float64 // clients that are still to leave
	churnAt int64   // when that was counted
	cutDone bool
}

// send waits until the window is over, and samples it.
func (x *execution) send(ctx context.Context) {
	e, r := x.e, &x.run
	e.progress.enter(loadgen.PhaseWarm, r.step.Warm)
	x.churnAt = r.start
	if !x.sleepUntil(ctx, r.from) {
		return
	}
	e.progress.enter(loadgen.PhaseRun, r.step.Window)
	x.cpuAt[0] = ownCPU()
	x.last = e.look(true)
	span := max(sampleSpan, r.step.Window/samplesMax)
	for at := r.from + int64(span); ; at += int64(span) {
		at = min(at, r.until)
		goesOn := x.sleepUntil(ctx, at)
		x.sample(netpoll.Clock())
		if !goesOn || at == r.until {
			break
		}
	}
	x.cpuAt[1] = ownCPU()
}

// sleepUntil waits and does meanwhile what happens to clients. False: the context ended the step.
func (x *execution) sleepUntil(ctx context.Context, at int64) bool {
	for {
		rest := time.Duration(at - netpoll.Clock())
		if rest <= 0 {
			return true
		}
		span := rest
		if x.e.job.Workload.Churn != nil || x.e.job.Workload.Cut != nil {
			span = min(span, lookSpan)
		}
		select {
		case <-ctx.Done():
			x.stopped = true
			return false
		case <-time.After(span):
			x.disturb()
		}
	}
}

// sample notes an interval of the series.
func (x *execution) sample(now int64) {
	s := x.e.look(true)
	d := &x.last
	span := now - x.run.from
	if n := len(x.result.Series); n > 0 {
		span -= int64(x.result.Series[n-1].At)
	}
	idle := 1 - float64(s.busy-d.busy)/float64(max(span, 1))/float64(x.e.opt.Loops)
	x.result.Series = append(x.result.Series, loadgen.Sample{At: time.Duration(now - x.run.from),
		Due: s.due - d.due, Sent: s.sent - d.sent, Delivered: s.delivered - d.delivered,
		P50: s.recent.At(50), P99: s.recent.At(99), Clients: s.open})
	x.e.note(&s, idle)
	x.last = s
}

// drain lets what is due be sent for a moment longer and waits for what is under way, packets and
// clients of a cut.
func (x *execution) drain(ctx context.Context) {
	e := x.e
	e.progress.enter(loadgen.PhaseDrain, x.run.step.Drain)
	if !x.stopped {
		x.sleepUntil(ctx, x.run.until+int64(graceSpan))
	}
	now := netpoll.Clock()
	e.each(func(l *loop) {
		if x.stopped { // the window ends here
			l.run.until = min(l.run.until, now)
		}
		for _, i := range l.own {
			if s := l.e.clients[i].out; s != nil {
				l.settle(s)
			}
		}
		l.run.settled = true
	})
	x.run.until = min(x.run.until, max(now, x.run.from+1))
	over := now + int64(x.run.step.Drain)
	quiet, last, hurries, away := now, e.look(false), false, x.away()
	for netpoll.Clock() < over {
		if last.sent <= last.delivered && away == 0 || netpoll.Clock() > quiet+int64(quietSpan) {
			break
		}
		if !hurries && x.interrupted(ctx) {
			hurries, over = true, min(over, netpoll.Clock()+int64(hurrySpan))
		}
		time.Sleep(lookSpan)
		s, still := e.look(false), x.away()
		if s.delivered != last.delivered || still != away {
			quiet = netpoll.Clock()
		}
		last, away = s, still
		e.note(&s, 1)
	}
}

// away is how many clients of this step's cut are not back.
func (x *execution) away() int64 {
	if !x.cutDone {
		return 0
	}
	return x.e.away.Load()
}

// interrupted tells whether the context has ended the step while there was something left to do.
func (x *execution) interrupted(ctx context.Context) bool {
	x.stopped = x.stopped || ctx.Err() != nil
	return x.stopped
}

// askAll lets every client that is logged in prove that it is, with a Ping.
func (x *execution) askAll(ctx context.Context) {
	if !x.run.step.Ask || x.interrupted(ctx) {
		return
	}
	x.e.each(func(l *loop) {
		for _, i := range l.own {
			l.stopReading(&l.e.clients[i])
		}
		l.asking = append(l.asking[:0], l.own...)
		l.active = true
	})
	var left, since = -1, time.Now()
	for time.Since(since) < pingWait {
		s := x.e.look(false)
		if s.pinging+s.notAsked == 0 || x.interrupted(ctx) {
			return
		}
		if n := s.pinging + s.notAsked; n != left {
			left, since = n, time.Now() // it gets on
		}
		time.Sleep(lookSpan)
	}
}

// ownCPU is what this process has used.
func ownCPU() loadgen.CPU {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return loadgen.CPU{}
	}
	return loadgen.CPU{User: time.Duration(u.Utime.Nano()), System: time.Duration(u.Stime.Nano())}
}
