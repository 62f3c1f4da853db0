package engine

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"derpd/loadgen"
	"derpd/netpoll"
)

// finish takes the step apart and adds up what the loops counted.
func (x *execution) finish() {
	e, r := x.e, &x.result
	groups := e.job.Workload.Groups
	r.Window = time.Duration(x.run.until - x.run.from)
	r.Partial = x.stopped
	r.Groups = make([]loadgen.GroupResult, len(groups))
	for i := range groups {
		r.Groups[i] = loadgen.GroupResult{Name: groups[i].Name, Latency: loadgen.NewHist()}
	}
	r.Slack.Lag, r.Slack.Loops = loadgen.NewHist(), e.opt.Loops
	sent := make([]uint64, len(e.flows))
	exposed := make([]bool, len(e.flows)) // either end may have kept packets for itself
	var mu sync.Mutex
	var busy int64
	e.each(func(l *loop) {
		mu.Lock()
		defer mu.Unlock()
		l.end()
		x.add(l)
		busy += l.busy
		for _, i := range l.own {
			if s := e.clients[i].out; s != nil {
				for j := range s.streams {
					sent[s.streams[j].flow] = s.streams[j].sent
					exposed[s.streams[j].flow] = exposed[s.streams[j].flow] || s.streams[j].cut
				}
			}
		}
	})
	missing := uint64(0)
	for i := range e.flows { // the loops have ended the step: nobody writes
		f := &e.receiving[i]
		if (exposed[i] || f.cut || f.held) && sent[i] > f.delivered {
			missing += sent[i] - f.delivered
		}
	}
	// What of this the relays dropped and counted is for whoever reads their counters.
	r.Books.InFlight = missing
	after := e.look(false)
	r.Clients = after.open
	r.Logins = after.ended - x.before.ended
	r.Readmit = time.Duration(e.readmit.Load())
	r.Slack.CPU = x.cpuAt[1].Sub(x.cpuAt[0])
	r.Slack.Idle = max(0, 1-float64(busy)/float64(max(r.Window, 1))/float64(e.opt.Loops))
	if n := delivered(r); n > 0 {
		r.Slack.BusyNanosPerPacket = float64(busy) / float64(n)
	}
	r.Slack.Limited = limited(&r.Slack, leastP99(r))
	if x.stun != nil {
		x.addSTUN(&r.Slack)
	}
}

// delivered is how many packets came in the window.
func delivered(r *loadgen.StepResult) (n uint64) {
	for i := range r.Groups {
		n += r.Groups[i].Delivered
	}
	return n
}

// add takes the counts of one loop.
func (x *execution) add(l *loop) {
	r := &x.result
	for i := range l.groups {
		t, g := &l.groups[i], &r.Groups[i]
		r.Books.Due += t.due
		r.Books.NotAccepted += t.notAccepted
		r.Books.Sent += t.sent
		r.Books.Delivered += t.delivered
		g.Due += t.winDue
		g.Sent += t.winSent
		g.SentBytes += t.winSentBytes
		g.Delivered += t.winDelivered
		g.Bytes += t.winDeliveredBytes
		g.Latency.Merge(t.latency)
	}
	r.Wrong.Key += l.wrong.Key
	r.Wrong.Order += l.wrong.Order
	r.Wrong.Content += l.wrong.Content
	r.Wrong.Twice += l.wrong.Twice
	r.Slack.Lag.Merge(l.lag)
	r.Failures.Merge(l.failures)
	r.Asked += l.asked
	r.Answered += l.answered
	if silent := l.asked - l.answered; silent > 0 && !x.stopped { // else they had no time
		r.Failures.Add(loadgen.FailSilent, uint64(silent), "no Pong came back")
	}
}

// end takes a loop out of a step.
func (l *loop) end() {
	l.poll.SetBusy(false)
	for _, i := range l.own {
		c := &l.e.clients[i]
		l.stopReading(c)
		c.asked = false
		if c.out != nil {
			c.out.filling = false
			if !c.sending {
				l.flushControl(c)
			}
		}
	}
	l.asking, l.pinging, l.filling = nil, 0, l.filling[:0]
	l.run = nil
	l.active = true
}

// leastP99 is the p99 of the group that had to wait least: beside one that waits for a receiver
// which does not read, a generator that is late is seen in the others.
func leastP99(r *loadgen.StepResult) (least time.Duration) {
	for i := range r.Groups {
		h := r.Groups[i].Latency
		if p99 := h.At(99); h.Count() > 0 && (least == 0 || p99 < least) {
			least = p99
		}
	}
	return least
}

// limited says why the generator was the limit, if it was: its loops had no time to spare, or it
// was late by so much that the latencies are largely its own.
func limited(s *loadgen.Slack, p99 time.Duration) string {
	var why []string
	if s.Idle < 1-busyLimit {
		why = append(why, fmt.Sprintf("its loops worked %.0f %% of the time", 100*(1-s.Idle)))
	}
	if lag := s.Lag.At(99); lag > lagLimit && lag > p99/lagShare {
		why = append(why, fmt.Sprintf("1 %% of the packets were written %v late or more", lag))
	}
	return strings.Join(why, "; ")
}

// disturb is what happens to idle clients while the others go on: some leave, or all are cut.
func (x *execution) disturb() {
	e, w := x.e, &x.e.job.Workload
	if w.Churn != nil {
		now := netpoll.Clock()
		x.churn += w.Churn.PerSecond * time.Duration(now-x.churnAt).Seconds()
		x.churnAt = now
		if n := int(x.churn); n > 0 {
			x.churn -= float64(n)
			e.each(func(l *loop) {
				if l.id < e.opt.Loops { // the others have no idle clients
					l.leave((n + l.id) / e.opt.Loops)
				}
			})
		}
	}
	now := netpoll.Clock()
	if w.Cut == nil || x.cutDone || now < x.run.from+int64(w.Cut.After) {
		return
	}
	x.cutDone = true
	e.readmit.Store(0)
	e.away.Store(1) // kept by us until all are counted
	e.cutAt.Store(now)
	e.each(func(l *loop) { l.cutIdle(w.Cut.Share) })
	e.returned(netpoll.Clock())
}

// leave lets n idle clients go, for good: others come in their places, with keys of their own.
func (l *loop) leave(n int) {
	for range 8 * n { // most picks hit, while most are idle and open
		if n == 0 || len(l.own) == 0 {
			return
		}
		c := &l.e.clients[l.own[l.nextLeaver%len(l.own)]]
		l.nextLeaver++
		if l.e.clientsAt[c.index].group >= 0 || c.phase != phaseOpen || c.leaves {
			continue
		}
		c.key++
		c.leaves = true
		l.poll.Close(c.h)
		n--
	}
}

// cutIdle picks a share of the idle clients, whose connections are reset in the turns to come; they
// come back at once.
func (l *loop) cutIdle(share float64) {
	credit := 0.0
	for _, i := range l.own {
		c := &l.e.clients[i]
		if l.e.clientsAt[i].group >= 0 || c.phase != phaseOpen || c.leaves {
			continue
		}
		if credit += share; credit < 1 {
			continue
		}
		credit--
		c.away = true
		l.cutting = append(l.cutting, i)
	}
	l.e.away.Add(int64(len(l.cutting)))
	l.active = true
}

// cutSome resets a turn's part of the connections that are to be cut. What a peer on the way out
// costs its own machine is a generator's to bear, and must not show in what others are sent.
func (l *loop) cutSome() {
	n := min(len(l.cutting), cutsPerTurn)
	for _, i := range l.cutting[:n] {
		if c := &l.e.clients[i]; c.phase == phaseOpen && !c.leaves { // or it comes back anyway
			c.leaves = true
			l.poll.Reset(c.h)
		}
	}
	l.cutting = l.cutting[n:]
	l.active = true
}
