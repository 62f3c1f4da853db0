package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"derpd/loadgen"
	"derpd/netpoll"
	"derpd/relay/derp"
	"derpd/tlsengine"
)

const (
	// receiveBytes is what one receive takes: the more packets share it, the less each costs.
	receiveBytes = 256 << 10
	arenaBytes   = 4 << 20
)

// Engine is a fleet in this process. See loadgen.Fleet for who may call what.
type Engine struct {
	job     loadgen.Job
	opt     loadgen.Options
	sources []netip.Addr
	flows   []flow

	clients   []client
	clientsAt []place
	keys      []derp.Key  // of clients in groups, by client
	receiving []receiving // by flow; the receiver's loop's
	arrived   []arrived   // by flow; nil if no group keeps packets apart
	incoming  map[int32][]int32
	tls       []*tlsengine.Engine // by target

	loops         []*loop
	running       sync.WaitGroup
	workers       *workers
	loginsPerLoop int
	closing       atomic.Bool
	steps         uint8
	procs         int // GOMAXPROCS before

	away    atomic.Int64 // clients of a cut that are not back
	cutAt   atomic.Int64
	readmit atomic.Int64

	progress progress
}

// receiving is the receiver's half of a flow, of this step.
type receiving struct {
	last      [2]uint64 // numbers of the newest packets, by class
	delivered uint64
	cut       bool // the receiver's connection ended
	held      bool // the receiver reads slowly or not at all
}

// arrived is what a sender that keeps packets apart waits for; receiver and sender may be in
// different loops.
type arrived struct {
	packets atomic.Uint64
	at      atomic.Int64 // the newest one
}

var _ loadgen.Fleet = (*Engine)(nil)

// New makes the loops and the clients; none of them connects yet. An Engine that is not wanted any
// more must be closed.
func New(job loadgen.Job) (*Engine, error) {
	complete(&job.Options)
	l, err := newLayout(job)
	if err != nil {
		return nil, err
	}
	e := &Engine{job: job, opt: job.Options, sources: l.sources, flows: l.flows,
		clientsAt: l.clients, clients: make([]client, len(l.clients)),
		receiving: make([]receiving, len(l.flows)), incoming: make(map[int32][]int32)}
	if slices.ContainsFunc(job.Workload.Groups, func(g loadgen.Group) bool { return g.Apart > 0 }) {
		e.arrived = make([]arrived, len(l.flows))
	}
	for i := range e.clients {
		e.clients[i].index = int32(i)
	}
	for i := range job.Targets {
		t, err := tlsengine.NewClient(e.tlsConfig(&job.Targets[i]))
		if err != nil {
			return nil, err
		}
		e.tls = append(e.tls, t)
	}
	if slices.ContainsFunc(job.Targets, func(t loadgen.Target) bool { return !t.Plain }) {
		if err := tlsengine.SelfCheck(); err != nil {
			return nil, fmt.Errorf("loadgen: %w: build it with the Go release that its go.mod names",
				err)
		}
	}
	e.loginsPerLoop = max(1, e.opt.LoginsAt/e.opt.Loops)
	nWorkers := runtime.NumCPU()
	loops := e.opt.Loops
	if slices.ContainsFunc(job.Workload.Groups, func(g loadgen.Group) bool { return g.OwnLoop }) {
		loops++ // the last is theirs
	}
	for id := range loops {
		loop, err := newLoop(e, id, loops)
		if err != nil {
			e.stopLoops()
			return nil, err
		}
		e.loops = append(e.loops, loop)
	}
	if err := e.makeKeys(l.idle); err != nil {
		e.stopLoops()
		return nil, err
	}
	e.deal()
	e.progress.enter(loadgen.PhaseRamp, 0)
	// A loop that finds no P after a system call would wait behind other goroutines.
	e.procs = runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), loops+nWorkers+2))
	e.workers = newWorkers(nWorkers, 4*len(e.clients)+64, e.loops)
	for _, l := range e.loops {
		e.running.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			// Times are met to microseconds instead of the usual 50. It cannot fail.
			_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0)
			if l.id >= e.opt.Loops {
				defer goFirst()()
			}
			_ = l.poll.Run(l) // nil: it runs once
		})
	}
	return e, nil
}

// complete fills in the defaults.
func complete(o *loadgen.Options) {
	if o.Loops <= 0 {
		o.Loops = max(1, runtime.NumCPU()-1)
	}
	if o.LoginsAt <= 0 {
		o.LoginsAt = 64
	}
	if o.LoginFor <= 0 {
		o.LoginFor = 10 * time.Second
	}
	if o.Sampled <= 0 {
		o.Sampled = 64
	}
}

// tlsConfig asks for one record a write from the first byte on, as our own are. The relay's
// certificate is not verified: what is tested is its capacity.
func (e *Engine) tlsConfig(t *loadgen.Target) *tls.Config {
	c := &tls.Config{ServerName: t.Host, InsecureSkipVerify: true}
	if e.opt.X25519 {
		c.CurvePreferences = []tls.CurveID{tls.X25519}
	}
	return c
}

// makeKeys computes the public keys of clients that others send to or hear from.
func (e *Engine) makeKeys(idle int) error {
	e.keys = make([]derp.Key, len(e.clients))
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	next := atomic.Int64{}
	next.Store(int64(idle))
	for range runtime.NumCPU() {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(e.clients); i = int(next.Add(1)) - 1 {
				private, err := e.privateKey(int32(i), 0)
				if err != nil {
					failed.Store(&err)
					return
				}
				e.keys[i] = private.Public()
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// deal gives each client to a loop, senders and receivers in turn, and makes the senders.
func (e *Engine) deal() {
	for i := len(e.clients) - 1; i >= 0; i-- { // loops take from the end of their lists
		l := e.loops[i%e.opt.Loops]
		if g := e.clientsAt[i].group; g >= 0 && e.job.Workload.Groups[g].OwnLoop {
			l = e.loops[len(e.loops)-1]
		}
		l.own = append(l.own, int32(i))
		l.waiting = append(l.waiting, int32(i))
	}
	for i := range e.flows {
		f := &e.flows[i]
		c := &e.clients[f.from]
		if c.out == nil {
			c.out = &sender{c: c, pos: -1}
		}
		c.out.streams = append(c.out.streams, stream{flow: int32(i), group: f.group})
		e.incoming[f.to] = append(e.incoming[f.to], int32(i))
	}
	for _, l := range e.loops {
		l.groups = make([]tally, len(e.job.Workload.Groups))
		for i := range l.groups {
			l.groups[i].latency = loadgen.NewHist()
		}
	}
}

// each runs fn on every loop and waits for all.
func (e *Engine) each(fn func(l *loop)) {
	var wg sync.WaitGroup
	for _, l := range e.loops {
		wg.Add(1)
		if !l.poll.Post(func() { defer wg.Done(); fn(l) }) {
			wg.Done()
		}
	}
	wg.Wait()
}

// Close implements loadgen.Fleet.
func (e *Engine) Close() error {
	if e.closing.Swap(true) {
		return nil
	}
	e.each(func(l *loop) {
		l.run, l.waiting, l.again = nil, nil, nil
		for _, i := range l.own { // a RST leaves no TIME_WAIT behind, of which there would be many
			if c := &e.clients[i]; c.h != 0 {
				c.leaves = true
				l.poll.Reset(c.h)
			}
		}
	})
	e.stopLoops()
	e.workers.close()
	runtime.GOMAXPROCS(e.procs)
	return nil
}

func (e *Engine) stopLoops() {
	for _, l := range e.loops {
		l.poll.Stop()
	}
	if e.workers == nil { // the loops were never run
		for _, l := range e.loops {
			_ = l.poll.Run(l)
		}
	}
	e.running.Wait()
}

// returned is a client of a cut that is back.
func (e *Engine) returned(now int64) {
	if e.away.Add(-1) == 0 {
		e.readmit.Store(now - e.cutAt.Load())
	}
}

// absolute is how far CLOCK_MONOTONIC, which the processes of a fleet share, is ahead of
// netpoll.Clock.
func absolute() int64 {
	var t unix.Timespec
	best, offset := int64(1<<62), int64(0)
	for range 5 {
		before := netpoll.Clock()
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
			continue
		}
		after := netpoll.Clock()
		if after-before < best {
			best, offset = after-before, t.Nano()-(before+after)/2
		}
	}
	return offset
}

// Ramp implements loadgen.Fleet.
func (e *Engine) Ramp(ctx context.Context) (*loadgen.RampResult, error) {
	began := time.Now()
	e.progress.enter(loadgen.PhaseRamp, 0)
	e.each(func(l *loop) { l.active = true })
	tick := time.NewTicker(lookSpan)
	defer tick.Stop()
	var s look
	for {
		s = e.look(false)
		if s.open+s.gone == len(e.clients) || s.hopeless() {
			break
		}
		select {
		case <-ctx.Done():
			e.each(func(l *loop) { l.waiting, l.again = nil, nil })
			r := e.ramped(&s, began)
			r.Partial = true
			return r, nil
		case <-tick.C:
		}
	}
	if s.open == 0 && len(e.clients) > 0 {
		return nil, fmt.Errorf("loadgen: no client could log in: %w", failuresError(s.failures))
	}
	e.progress.enter(loadgen.PhaseReady, 0)
	return e.ramped(&s, began), nil
}

func (e *Engine) ramped(s *look, began time.Time) *loadgen.RampResult {
	return &loadgen.RampResult{Clients: s.open, Wanted: len(e.clients), Took: time.Since(began),
		Failures: s.failures, Login: s.login, Processes: 1}
}

// hopeless tells that clients only fail: there is no relay, or not one that lets anybody in.
func (s *look) hopeless() bool { return s.ended == 0 && s.failures.Sum() >= 200 }

func failuresError(f loadgen.Failures) error {
	lines := f.Lines()
	if len(lines) == 0 {
		return errors.New("nobody answers")
	}
	var errs []error
	for _, line := range lines {
		errs = append(errs, errors.New(line))
	}
	return errors.Join(errs...)
}
