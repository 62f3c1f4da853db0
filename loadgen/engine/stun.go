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
func (e *Engine) startSTUN(ctx context.Context, r *run) (func(*loadgen.StepResult) error, error) {
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
		result *loadgen.STUNResult
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
	return func(into *loadgen.StepResult) error {
		o := <-done
		into.STUN = o.result
		if o.result != nil && o.err != nil { // nothing came back, and the kernel said why
			into.Failures.Add(loadgen.FailUnreach, 1, o.err.Error())
			return nil
		}
		return o.err
	}, nil
}
