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
	login               *loadgen.Hist
	recent              *loadgen.Hist // emptied by looking, if asked for
}

// look reads the counts of all loops. With recent it also takes their latest latencies: 180 KB to
// add up and to clear, which a loop that has packets to send only changes for an empty histogram.
func (e *Engine) look(recent bool) look {
	var mu sync.Mutex
	s := look{login: loadgen.NewHist()}
	if recent {
		s.recent = loadgen.NewHist()
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
			s.login.Merge(l.login)
			for _, i := range l.own {
				if e.clients[i].phase == phaseGone {
					s.gone++
				}
			}
		}
		if recent {
			l.recent, l.given = l.given, l.recent
		}
	})
	if recent {
		for _, l := range e.loops {
			s.recent.Merge(l.given)
			l.given.Reset()
		}
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
