package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"derpd/loadgen/host"
)

// IdleOptions says how many clients wait how long.
type IdleOptions struct {
	Clients int           `json:"clients"`
	Plain   bool          `json:"plain"`  // TCP without TLS
	CPU     int           `json:"cpu"`    // the relay's processor; negative: any
	Settle  time.Duration `json:"settle"` // least time between the last login and the measurement, ns
}

// IdleResult is what one relay takes for clients that are logged in and silent. Memory is in
// bytes; kernel memory covers both ends of each connection, which share the machine.
type IdleResult struct {
	Peer              string  `json:"peer"`
	Error             string  `json:"error,omitempty"`
	Clients           int     `json:"clients"`
	RSSBefore         int64   `json:"rss_before"`
	RSSWith           int64   `json:"rss_with"`
	RSSPerClient      float64 `json:"rss_per_client"`
	BuffersPerClient  float64 `json:"kernel_tcp_buffers_per_client"`
	SlabPerClient     float64 `json:"kernel_slab_per_client"`
	GoroutinesBefore  int     `json:"goroutines_before"` // 0: the relay does not tell
	GoroutinesWith    int     `json:"goroutines_with"`
	LoginUserMicros   float64 `json:"login_user_us"` // relay CPU a login
	LoginSystemMicros float64 `json:"login_system_us"`
	RampSeconds       float64 `json:"ramp_s"`
	SettleSeconds     float64 `json:"settle_s"`
	Settled           bool    `json:"settled"`
	Answered          int     `json:"answered"` // clients whose ping came back at the end
}

// Idle measures one peer after the other. The error is about the options or ctx; what goes
// wrong with a peer stands in its result.
func Idle(ctx context.Context, peers []Peer, o IdleOptions, say Say) ([]IdleResult, error) {
	if err := checkFiles(o.Clients); err != nil {
		return nil, err
	}
	undo, err := host.AvoidCPU(o.CPU)
	if err != nil {
		return nil, err
	}
	defer undo()
	var all []IdleResult
	for _, p := range peers {
		res := IdleResult{Peer: p.Name, Clients: o.Clients}
		if err := idlePeer(ctx, p, o, &res, say); err != nil {
			if ctx.Err() != nil {
				return all, ctx.Err()
			}
			res.Error = err.Error()
			say("%s: %v", p.Name, err)
		}
		all = append(all, res)
	}
	return all, nil
}

func idlePeer(ctx context.Context, p Peer, o IdleOptions, res *IdleResult, say Say) error {
	r, err := startRelay(ctx, p, o.Plain, o.CPU)
	if err != nil {
		return err
	}
	defer r.stop()
	if err := idleRun(ctx, r, o, res, say); err != nil {
		return r.explain(err)
	}
	return nil
}

func idleRun(ctx context.Context, r *relay, o IdleOptions, res *IdleResult, say Say) error {
	res.GoroutinesBefore = r.goroutines() // before memory: asking costs some
	if err := pause(ctx, min(o.Settle, time.Second)); err != nil {
		return err
	}
	rss, err1 := host.RSS(r.pid)
	kernel, err2 := host.ReadKernel()
	cpu, err3 := host.CPU(r.pid)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	res.RSSBefore = rss

	begin := clock()
	clients, err := loginMany(ctx, &r.target, o.Clients)
	defer closeAll(clients)
	if err != nil {
		return err
	}
	n := float64(len(clients))
	res.RampSeconds = (clock() - begin).Seconds()
	after, err := host.CPU(r.pid)
	if err != nil {
		return err
	}
	res.LoginUserMicros = micros(after.Sub(cpu).User) / n
	res.LoginSystemMicros = micros(after.Sub(cpu).System) / n
	say("%s: %d clients in %.1f s", res.Peer, len(clients), res.RampSeconds)

	if err := settle(ctx, r.pid, o.Settle, res); err != nil {
		return err
	}
	kernelWith, err := host.ReadKernel()
	if err != nil {
		return err
	}
	res.RSSPerClient = float64(res.RSSWith-res.RSSBefore) / n
	res.BuffersPerClient = float64(kernelWith.TCPBytes-kernel.TCPBytes) / n
	res.SlabPerClient = float64(kernelWith.SlabBytes-kernel.SlabBytes) / n
	res.GoroutinesWith = r.goroutines()

	res.Answered, err = pingAll(ctx, clients)
	if err != nil {
		return fmt.Errorf("%d of %d clients answered at the end: %w",
			res.Answered, len(clients), err)
	}
	return nil
}

// settle waits at least the given time and until the relay's memory stands still.
func settle(ctx context.Context, pid int, least time.Duration, res *IdleResult) error {
	begin := clock()
	if err := pause(ctx, max(0, least-settleSpan)); err != nil {
		return err
	}
	for {
		span := min(settleSpan, max(least, 100*time.Millisecond))
		before, err := host.RSS(pid)
		if err != nil {
			return err
		}
		if err := pause(ctx, span); err != nil {
			return err
		}
		if res.RSSWith, err = host.RSS(pid); err != nil {
			return err
		}
		moved := math.Abs(float64(res.RSSWith - before))
		res.SettleSeconds = (clock() - begin).Seconds()
		res.Settled = moved*100 < float64(before)*settlePercent
		if res.Settled || clock()-begin >= settleFactorMax*max(least, settleSpan) {
			return nil
		}
	}
}

// checkFiles tells early that a run cannot fit: a descriptor a client, and some for ourselves.
func checkFiles(clients int) error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	if need := uint64(clients + 2*loginsAtOnce + 50); need > l.Cur {
		return fmt.Errorf("bench: %d clients need %d open files, the limit is %d: "+
			"raise it (ulimit -n) or ask for fewer -clients", clients, need, l.Cur)
	}
	return nil
}
