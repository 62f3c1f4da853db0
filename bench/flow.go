package bench

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"derpd/loadgen"
	"derpd/loadgen/host"
)

// flow is a set of pairs that send one way through one relay, driven by a loop on each
// processor but one, which the relay needs. Between steps nothing runs.
type flow struct {
	pairs  []*pair
	loops  []*loop
	frames int           // a write
	tick   time.Duration // see pace
	timing bool          // whether to measure latencies
}

// newFlow logs in 2×n clients.
func newFlow(ctx context.Context, t *target, n, frames, size int) (*flow, error) {
	f := &flow{frames: frames}
	all, err := loginMany(ctx, t, 2*n)
	if err != nil {
		closeAll(all)
		return nil, err
	}
	for i := range n {
		f.pairs = append(f.pairs, newPair(i, all[2*i], all[2*i+1], frames, size))
	}
	for i, p := range f.pairs {
		if i < max(1, runtime.NumCPU()-1) {
			l, err := newLoop()
			if err != nil {
				f.close()
				return nil, err
			}
			f.loops = append(f.loops, l)
		}
		err := errors.Join(p.from.wire.detach(), p.to.wire.detach())
		if err == nil {
			err = f.loops[i%len(f.loops)].add(p)
		}
		if err != nil {
			f.close()
			return nil, err
		}
	}
	return f, nil
}

func (f *flow) close() {
	for _, p := range f.pairs {
		p.from.close()
		p.to.close()
	}
	for _, l := range f.loops {
		_ = unix.Close(l.epoll) // holds nothing
	}
}

// step sends for a window and, before it, a share of that for warming up. It waits until what
// is under way has arrived and returns what happened in the window. A rate of 0 frames/s means
// as fast as writes go.
func (f *flow) step(ctx context.Context, pid int, rate float64, window time.Duration) (
	Step, error) {
	pace := pace{start: clock(), senders: len(f.pairs), tick: f.tick}
	if rate > 0 {
		pace.interval = time.Duration(float64(time.Second) / rate * float64(f.frames))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var stopped atomic.Bool
	var loops sync.WaitGroup
	for _, l := range f.loops {
		loops.Go(func() {
			if err := l.run(pace, &stopped); err != nil {
				cancel(err)
			}
		})
	}
	s, err := f.window(ctx, pid, window)
	s.Target = rate
	stopped.Store(true)
	loops.Wait()
	if cause := context.Cause(ctx); cause != nil { // says more than what followed from it
		return s, cause
	}
	if f.timing {
		all := f.takeLatencies()
		s.P50Micros, s.P99Micros = micros(percentile(all, 50)), micros(percentile(all, 99))
	}
	return s, err
}

func (f *flow) window(ctx context.Context, pid int, window time.Duration) (s Step, err error) {
	if err := pause(ctx, window/warmShare); err != nil {
		return s, err
	}
	before, err := f.snapshot(pid)
	if err != nil {
		return s, err
	}
	f.setTiming(f.timing)
	err = pause(ctx, window)
	f.setTiming(false)
	if err != nil {
		return s, err
	}
	after, err := f.snapshot(pid)
	if err != nil {
		return s, err
	}
	span := (after.at - before.at).Seconds()
	cpu := after.cpu.Sub(before.cpu)
	s.Offered = float64(after.sent-before.sent) / span
	s.Delivered = float64(after.received-before.received) / span
	if n := float64(after.received - before.received); n > 0 {
		s.UserMicros = micros(cpu.User) / n
		s.SystemMicros = micros(cpu.System) / n
	}
	s.Busy = cpu.Sum().Seconds() / span
	ours := cpu.Sum() + after.own.Sub(before.own).Sum()
	machine := after.machine.Sub(before.machine)
	s.Others = max(0, (machine.Busy+machine.Steal-ours).Seconds()/span)
	return s, nil
}

type snapshot struct {
	at             time.Duration
	sent, received uint64
	cpu, own       loadgen.CPU // the relay's, this process's
	machine        host.Use
}

func (f *flow) snapshot(pid int) (s snapshot, err error) {
	s.at = clock()
	var err1, err2, err3 error
	s.cpu, err1 = host.CPU(pid)
	s.own, err2 = host.CPU(os.Getpid())
	s.machine, err3 = host.ReadUse()
	for _, p := range f.pairs {
		s.sent += p.sent.Load()
		s.received += p.received.Load()
	}
	return s, errors.Join(err1, err2, err3)
}

func (f *flow) setTiming(on bool) {
	for _, p := range f.pairs {
		p.timing.Store(on)
	}
}

// takeLatencies empties the pairs' samples and returns all of them, sorted.
func (f *flow) takeLatencies() []time.Duration {
	var all []time.Duration
	for _, p := range f.pairs {
		all = append(all, p.latencies...)
		p.latencies = p.latencies[:0]
	}
	slices.Sort(all)
	return all
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
