package view

import (
	"context"
	"fmt"
	"io"
	"time"

	"derpd/loadgen"
)

// Watch shows how a fleet gets on until ctx ends or its phase is done. On a terminal it draws a bar
// for each phase and leaves those that are finished above; elsewhere it writes a line every five
// seconds and at the end of each phase. Errors of out are not its business: the run is what counts.
func Watch(ctx context.Context, out io.Writer, isTerminal bool,
	progress func() loadgen.Progress) {
	var v viewer = &lines{out: out}
	if isTerminal {
		v = newBars(out)
	}
	defer v.close()
	tick := time.NewTicker(barsEvery)
	defer tick.Stop()
	var s status
	last, looked := progress(), time.Now()
	for {
		now := time.Now()
		next := progress()
		if next.Phase != last.Phase {
			s.over = true
			v.end(&s, ended(last, next, now.Sub(looked)))
			s.over = false
		}
		s.look(now, &next)
		if next.Phase == loadgen.PhaseDone {
			return
		}
		v.show(now, &s, &next)
		last, looked = next, now
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// viewer shows one phase after the other.
type viewer interface {
	show(at time.Time, s *status, p *loadgen.Progress)
	end(s *status, p loadgen.Progress) // of a phase
	close()
}

// lines is a viewer for logs.
type lines struct {
	out  io.Writer
	next time.Time
}

func (l *lines) show(at time.Time, s *status, p *loadgen.Progress) {
	if l.next.IsZero() {
		l.next = at.Add(lineEvery)
	}
	if at.Before(l.next) || p.Phase == loadgen.PhaseReady {
		return
	}
	l.next = l.next.Add(lineEvery)
	fmt.Fprintf(l.out, "%-6s %s: %s\n", p.Phase, clock(p), s.line(p))
}

func (l *lines) end(s *status, p loadgen.Progress) {
	if p.Phase != loadgen.PhaseReady {
		fmt.Fprintf(l.out, "%-6s done after %s: %s\n", p.Phase, clock(&loadgen.Progress{
			Since: p.Since}), s.line(&p))
	}
	l.next = time.Time{}
}

func (l *lines) close() {}
