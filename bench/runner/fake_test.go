package runner

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"derpd/bench"
	"derpd/bench/probe"
	"derpd/loadgen"
	"derpd/loadgen/host"
)

// fakeBed is a machine with fixed numbers: a step of a second delivers what is due, each packet
// costs its peer some µs, of which a quarter is user time, and others use a share of the machine
// that the test says.
type fakeBed struct {
	micros   map[string]float64 // a packet, by peer; 1 if not told
	noise    []float64          // of the steps to come
	fails    string             // the peer that fails, in the way its name tells
	launched []string
	stun     []bool // asked for, by turn
	running  int

	cpu   time.Duration // of the relay
	other time.Duration
	peer  string
	steps int
}

func newBed() *fakeBed { return &fakeBed{micros: map[string]float64{}} }

func (b *fakeBed) failing(how string) bool { return b.fails == how && b.peer == how }

func (b *fakeBed) Launch(_ context.Context, p bench.Peer, _, stun bool) (Relay, error) {
	b.launched = append(b.launched, p.Name)
	b.stun = append(b.stun, stun)
	b.peer = p.Name
	if b.failing("absent") {
		return nil, errors.New("does not come up\nit last logged: no such file")
	}
	b.running++
	return &fakeRelay{b: b}, nil
}

func (b *fakeBed) Fleet(job loadgen.Job, atEdge func(int)) (metered, bare loadgen.Fleet, err error) {
	return &fakeFleet{b: b, job: job, atEdge: atEdge},
		&fakeFleet{b: b, job: job, atEdge: func(int) {}}, nil
}

// Use has two processors, the second of which the generator keeps busy.
func (b *fakeBed) Use() (host.Use, time.Duration, error) {
	now := time.Duration(b.steps) * time.Second
	busy := b.cpu + now + b.other
	return host.Use{Busy: busy, Idle: 2*now - busy}, now, nil
}

func (b *fakeBed) OpenFiles() int                                  { return 20_000 }
func (b *fakeBed) Kernel() (int64, error)                          { return 0, nil }
func (b *fakeBed) Wait(ctx context.Context, _ time.Duration) error { return ctx.Err() }

type fakeRelay struct {
	b       *fakeBed
	asked   uint64
	sampled time.Duration // when looking began
}

func (r *fakeRelay) Target() loadgen.Target {
	return loadgen.Target{Addr: netip.MustParseAddrPort("127.0.0.1:1")}
}
func (r *fakeRelay) STUNPort() int               { return 0 }
func (r *fakeRelay) CPU() (time.Duration, error) { return r.b.cpu, nil }
func (r *fakeRelay) Sample() error {
	if r.b.failing("uncounted") {
		return fmt.Errorf("%w: not root", probe.ErrUnavailable)
	}
	r.sampled = r.b.cpu
	return nil
}
func (r *fakeRelay) Sampled() (user, system int, err error) {
	n := int((r.b.cpu - r.sampled) / time.Microsecond)
	return n / 4, n - n/4, nil
}
func (r *fakeRelay) Memory() (int64, error) { return 1 << 20, nil }
func (r *fakeRelay) Throttle(float64) error { return nil }
func (r *fakeRelay) Stop()                  { r.b.running-- }
func (r *fakeRelay) Explain(err error) error {
	log := "mode " + r.b.peer
	if r.b.failing("dies") {
		log = "fatal"
	}
	return fmt.Errorf("%w\nit last logged: %s", err, log)
}

func (r *fakeRelay) CountSyscalls(scheduling bool) (Counter, error) {
	if r.b.failing("uncounted") {
		return nil, fmt.Errorf("%w: not root", probe.ErrUnavailable)
	}
	return &fakeCounter{r.b, r.b.steps, scheduling}, nil
}

// Allocations are one for two packets, 100 for each question, and 7000 for the first one.
func (r *fakeRelay) Allocations(context.Context) (uint64, error) {
	if r.b.failing("uncounted") {
		return 0, fmt.Errorf("%w: no page", probe.ErrUnavailable)
	}
	r.asked++
	return 7000 + 100*r.asked + 500*uint64(r.b.steps), nil
}

// Exchange is a packet of two over to another loop, and nothing besides.
func (r *fakeRelay) Exchange(context.Context) (Exchange, error) {
	if r.b.failing("uncounted") {
		return Exchange{}, fmt.Errorf("%w: no page", probe.ErrUnavailable)
	}
	return Exchange{Crossed: 500 * float64(r.b.steps)}, nil
}

type fakeCounter struct {
	b     *fakeBed
	since int
	all   bool
}

func (c *fakeCounter) Read() (uint64, error) {
	n := uint64(c.b.steps-c.since) * 3000
	if c.all {
		n *= 2 // as many are for scheduling
	}
	return n, nil
}
func (c *fakeCounter) Close() {}

type fakeFleet struct {
	b      *fakeBed
	job    loadgen.Job
	atEdge func(int)
}

func (f *fakeFleet) Ramp(context.Context) (*loadgen.RampResult, error) {
	n := f.job.Workload.Clients()
	r := &loadgen.RampResult{Clients: n, Wanted: n, Took: 10 * time.Millisecond}
	switch {
	case f.b.failing("deaf"):
		return nil, errors.New("no client could log in")
	case f.b.failing("some"):
		r.Clients -= 3
	}
	return r, nil
}

func (f *fakeFleet) Step(_ context.Context, s loadgen.Step) (*loadgen.StepResult, error) {
	f.atEdge(0)
	b, n := f.b, uint64(s.Rate)
	if b.failing("dies") && b.steps == 3 {
		return nil, errors.New("the fleet is broken")
	}
	micros := b.micros[b.peer]
	if micros == 0 {
		micros = 1
	}
	b.cpu += time.Duration(micros * s.Rate * float64(time.Microsecond))
	if b.steps < len(b.noise) {
		b.other += time.Duration(b.noise[b.steps] * float64(2*time.Second))
	}
	b.steps++
	f.atEdge(1)
	r := &loadgen.StepResult{Step: s, Window: time.Second, Asked: 10, Answered: 10,
		Groups: []loadgen.GroupResult{{Name: "g", Due: n, Sent: n, Delivered: n}},
		Books:  loadgen.Books{Due: n, Sent: n, Delivered: n, DroppedKnown: true}}
	switch {
	case b.failing("forge"):
		r.Wrong.Key = 1
	case b.failing("loses"):
		r.Books.Delivered -= 5
	case b.failing("mute"):
		r.Books.Delivered -= 5
		r.Books.DroppedKnown = false
	case b.failing("swallows"):
		r.Books.Dropped, r.Books.Delivered = map[string]uint64{"queue": n}, 0
	case b.failing("silent"):
		r.Answered = 8
	}
	return r, nil
}

func (f *fakeFleet) Progress() loadgen.Progress { return loadgen.Progress{} }
func (f *fakeFleet) Close() error               { return nil }
