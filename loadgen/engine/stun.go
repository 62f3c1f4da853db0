package engine

import (
	"context"
	"net/netip"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/stunload"
	"derpd/netpoll"
)

// startSTUN begins the binding requests of a workload on a goroutine of their own, and returns how
// their result is waited for; nil if there are none.
func (e *Engine) startSTUN(ctx context.Context, r *run) (func(*execution) error, error) {
	w := e.job.Workload.STUN
	if w == nil {
		return nil, nil
	}
	target := netip.AddrPortFrom(e.job.Targets[0].Addr.Addr(), uint16(w.Port))
	g, err := stunload.New(target, e.sources, w.Sockets, e.opt.Seed^uint64(r.number))
	if err != nil {
		return nil, err
	}
	rate := w.Rate
	if w.Share > 0 {
		rate = r.step.Rate * w.Share
	}
	type outcome struct {
		result *stunload.Result
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		defer g.Close()
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(r.start - netpoll.Clock())):
		}
		s := &r.step
		res, err := g.Run(ctx, loadgen.Arrival{Kind: loadgen.Poisson}, rate, s.Warm, s.Window,
			s.Drain, s.Busy)
		done <- outcome{res, err}
	}()
	return func(x *execution) error {
		o := <-done
		if o.result == nil {
			return o.err
		}
		x.stun, x.result.STUN = o.result, &o.result.STUNResult
		x.stopped = x.stopped || o.result.Partial
		if o.err != nil { // nothing came back, and the kernel said why
			x.result.Failures.Add(loadgen.FailUnreach, 1, o.err.Error())
		}
		return nil
	}, nil
}

// addSTUN takes what asked for STUN as one more loop. Loops that have no clients have no say.
func (x *execution) addSTUN(s *loadgen.Slack) {
	u := x.stun
	why := limited(&loadgen.Slack{Idle: u.Idle, Lag: u.Lag}, u.Latency.At(99))
	if why != "" {
		why = "of STUN: " + why
		if s.Limited != "" {
			why = s.Limited + "; " + why
		}
		s.Limited = why
	}
	if len(x.e.clients) == 0 {
		s.Loops = 0
	}
	s.Idle = (s.Idle*float64(s.Loops) + u.Idle) / float64(s.Loops+1)
	s.Loops++
	s.Lag.Merge(u.Lag)
}
