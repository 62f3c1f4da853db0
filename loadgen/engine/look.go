package engine

import (
	"sync"
	"time"

	"derpd/loadgen"
)

// look is the sum over all loops at one moment.
type look struct {
	open, gone, blocked int
	began, ended        uint64
	due, sent           uint64
	delivered           uint64
	busy                int64
	stale               uint64
	asked, answered     int
	pinging             int
	notAsked            int
	failures            loadgen.Failures
	login               *loadgen.Hist // if recent is not asked for
	recent              *loadgen.Hist // emptied by looking, if asked for
}

// look reads the counts of all loops. With recent it also takes their latest latencies: of which a
// loop only gives away the histogram, 180 KB to add up and to clear, for it has packets to send.
func (e *Engine) look(recent bool) look {
	var mu sync.Mutex
	var s look
	var fresh, taken []*loadgen.Hist
	if recent {
		for range e.loops {
			fresh = append(fresh, loadgen.NewHist())
		}
	} else {
		s.login = loadgen.NewHist()
	}
	e.each(func(l *loop) {
		mu.Lock()
		defer mu.Unlock()
		s.open += l.open
		s.blocked += l.blocked
		s.began += l.began
		s.ended += l.ended
		s.busy += l.busy
		s.stale += l.stale
		s.asked += l.asked
		s.answered += l.answered
		s.pinging += l.pinging
		s.notAsked += len(l.asking)
		for i := range l.groups {
			s.due += l.groups[i].due
			s.sent += l.groups[i].sent
			s.delivered += l.groups[i].delivered
		}
		s.failures.Merge(l.failures)
		if l.run == nil {
			if s.login != nil {
				s.login.Merge(l.login)
			}
			for _, i := range l.own {
				if e.clients[i].phase == phaseGone {
					s.gone++
				}
			}
		}
		if recent {
			taken = append(taken, l.recent)
			l.recent = fresh[len(taken)-1]
		}
	})
	if len(taken) > 0 {
		s.recent = taken[0]
		for _, h := range taken[1:] {
			s.recent.Merge(h)
		}
	} else if recent {
		s.recent = loadgen.NewHist()
	}
	return s
}

// progress is what Progress returns, kept by whoever drives the engine.
type progress struct {
	mu    sync.Mutex
	now   loadgen.Progress
	since time.Time
}

func (p *progress) enter(phase loadgen.Phase, planned time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Phase, p.now.Planned, p.since = phase, planned, time.Now()
}

// Progress implements loadgen.Fleet.
func (e *Engine) Progress() loadgen.Progress {
	p := &e.progress
	p.mu.Lock()
	ramping := p.now.Phase == loadgen.PhaseRamp
	p.mu.Unlock()
	if ramping && !e.closing.Load() {
		s := e.look(false)
		e.note(&s, 0)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now
	now.Since = time.Since(p.since)
	return now
}

// note brings Progress up to date. idle is the share of the loops' time since the last note.
func (e *Engine) note(s *look, idle float64) {
	p := &e.progress
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Clients, p.now.Wanted, p.now.Failures = s.open, len(e.clients), s.failures
	p.now.Due, p.now.Sent, p.now.Delivered = s.due, s.sent, s.delivered
	p.now.Blocked, p.now.Idle = s.blocked, idle
	if s.recent != nil {
		p.now.Latency = s.recent
	}
}
