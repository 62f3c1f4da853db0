package engine

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/internal/reference"
	"derpd/netpoll"
)

// fleet is an engine against a reference server, with 5 pairs unless a test says otherwise.
type fleet struct {
	*Engine
	t      *testing.T
	server *reference.Server
}

func newFleet(t *testing.T, s *reference.Server, change func(*loadgen.Job)) *fleet {
	t.Helper()
	job := loadgen.Job{Targets: []loadgen.Target{s.Target()}, Workload: loadgen.Workload{
		Idle: 3, Groups: []loadgen.Group{{Name: "pairs", Senders: 5, Receivers: 5, Share: 1,
			Arrival: loadgen.Arrival{Kind: loadgen.Constant}, FramesPerWrite: 1,
			Sizes: []loadgen.Size{{Bytes: 200, Weight: 3}, {Bytes: 124, Weight: 1, Disco: true}}}}},
		Options: loadgen.Options{Loops: 1, Seed: 7, Ahead: 1 << 20, Sampled: 4,
			LoginFor: 5 * time.Second}}
	if change != nil {
		change(&job)
	}
	e, err := New(job)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return &fleet{e, t, s}
}

func (f *fleet) ramp() *loadgen.RampResult {
	f.t.Helper()
	r, err := f.Ramp(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

func (f *fleet) step(s loadgen.Step) *loadgen.StepResult {
	f.t.Helper()
	s.Drain = 10 * time.Second
	r, err := f.Step(f.t.Context(), s)
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// balanced checks what must hold of every step.
func (f *fleet) balanced(r *loadgen.StepResult) {
	f.t.Helper()
	b := &r.Books
	if b.Due != b.NotAccepted+b.Sent {
		f.t.Errorf("due %d is not %d not accepted and %d sent", b.Due, b.NotAccepted, b.Sent)
	}
	if got, want := float64(b.Due), r.Step.Rate*(r.Step.Warm+r.Step.Window).Seconds(); want > 0 &&
		math.Abs(got-want) > want/50+10 {
		f.t.Errorf("%.0f packets were due, want %.0f", got, want)
	}
}

func TestLoginForms(t *testing.T) {
	for _, tc := range []struct {
		name string
		opt  reference.Options
		fast string
	}{
		{"TLS with fast start", reference.Options{TLS: true}, "auto"},
		{"TLS without", reference.Options{TLS: true}, "off"},
		{"TLS of a relay that does not show its key", reference.Options{TLS: true, NoFastStart: true}, "auto"},
		{"plain", reference.Options{}, "auto"},
		{"plain that always answers", reference.Options{NoFastStart: true}, "auto"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, reference.Start(t, tc.opt), func(j *loadgen.Job) {
				j.Options.FastLog = tc.fast
			})
			if r := f.ramp(); r.Clients != 13 || r.Failures.Sum() != 0 || r.Login.Count() != 13 {
				t.Fatalf("%d clients are in, failures %v", r.Clients, r.Failures.Lines())
			}
			for range 2 { // a second step has all new numbers
				var r *loadgen.StepResult
				for range 3 { // a stall at its end may leave packets unsent
					r = f.step(loadgen.Step{Rate: 2000, Window: 200 * time.Millisecond, Ask: true})
					f.balanced(r)
					if r.Books.NotAccepted == 0 {
						break
					}
				}
				if b := &r.Books; b.Delivered != b.Sent || b.NotAccepted != 0 || r.Wrong.Any() {
					t.Errorf("books %+v, wrong %+v", *b, r.Wrong)
				}
				if r.Asked != 13 || r.Answered != 13 || r.Clients != 13 {
					t.Errorf("%d of %d clients answer, %d are in", r.Answered, r.Asked, r.Clients)
				}
			}
		})
	}
}

// TestCalibration: a known delay and loss are told within 2 % and 0.1 points. Where other programs
// keep the generator or the server from the processors for milliseconds, it may try again, and at the
// end with a delay of which 2 % are more than that.
func TestCalibration(t *testing.T) {
	const short, long = 100 * time.Millisecond, 500 * time.Millisecond
	for try, delay := range []time.Duration{short, short, short, long, long} {
		off := calibrate(t, delay)
		if off.Abs() <= delay/50 {
			return
		}
		t.Logf("try %d: a delay of %v is told wrong by %v", try+1, delay, off)
	}
	t.Error("each of these is more than 2 %")
}

// calibrate runs against a server of known delay that drops every 40th packet. What the server itself
// was late by is no error of the generator's.
func calibrate(t *testing.T, delay time.Duration) (off time.Duration) {
	s := reference.Start(t, reference.Options{TLS: true, Delay: delay, DropEvery: 40})
	defer s.Close()
	f := newFleet(t, s, nil)
	defer f.Close()
	f.ramp()
	r := f.step(loadgen.Step{Rate: 1000, Warm: 200 * time.Millisecond, Window: 1500 * time.Millisecond})
	f.balanced(r)
	stats := s.Stats()
	lost := r.Books.Sent - r.Books.Delivered
	dropped := uint64(0)
	for _, n := range stats.Dropped {
		dropped += n
	}
	if lost != dropped || r.Books.Sent != stats.Received {
		t.Errorf("sent %d and lost %d, the server received %d and dropped %d", r.Books.Sent, lost,
			stats.Received, dropped)
	}
	if share := float64(lost) / float64(r.Books.Sent); math.Abs(share-1.0/40) > 0.001 {
		t.Errorf("loss is told as %.2f %%, it was 2.5 %%", 100*share)
	}
	got := r.Groups[0].Latency.At(50) - stats.Late.At(50)
	t.Logf("a delay of %v is told as p50 %v p99 %v; server late by p50 %v p99 %v, lag p99 %v", delay,
		r.Groups[0].Latency.At(50), r.Groups[0].Latency.At(99), stats.Late.At(50), stats.Late.At(99),
		r.Slack.Lag.At(99))
	return got - delay
}

// TestStallShows: a relay that stands still once for 200 ms delays every packet that was due then,
// and the p99.9 has to show it, though a sender that waits for room would have sent few of them. Of
// the series only the interval in which they came shows it, unless the machine stalls too: then it may
// try again.
func TestStallShows(t *testing.T) {
	t.Parallel()
	const tries = 3
	for try := 1; ; try++ {
		series, shown := stallShows(t)
		if shown >= 1 && shown <= 2 {
			return
		}
		if shown < 1 || try == tries {
			t.Fatalf("%d of %d intervals show one stall: %+v", shown, len(series), series)
		}
	}
}

// stallShows tells how many intervals of a series show a stall of the relay.
func stallShows(t *testing.T) (series []loadgen.Sample, shown int) {
	const stall = 200 * time.Millisecond
	s := reference.Start(t, reference.Options{TLS: true})
	f := newFleet(t, s, nil)
	f.ramp()
	stop := time.AfterFunc(700*time.Millisecond, func() { s.Stall(stall) })
	defer stop.Stop()
	r := f.step(loadgen.Step{Rate: 1000, Window: 3 * time.Second})
	f.balanced(r)
	if p := r.Groups[0].Latency.At(99.9); p < stall*9/10 {
		t.Errorf("p99.9 is %v after a stall of %v", p, stall)
	}
	for _, in := range r.Series {
		if in.P99 >= stall*9/10 {
			shown++
		}
	}
	if r.Books.Delivered != r.Books.Sent {
		t.Errorf("books %+v", r.Books)
	}
	return r.Series, shown
}

// TestWrongPacketsAreSeen: what the server does wrong on purpose is counted, each kind as such.
func TestWrongPacketsAreSeen(t *testing.T) {
	for name, tc := range map[string]struct {
		opt   reference.Options
		wrong func(loadgen.Wrong) uint64
		did   func(reference.Stats) uint64
	}{
		"corrupt": {reference.Options{CorruptEvery: 25},
			func(w loadgen.Wrong) uint64 { return w.Content + w.Key },
			func(s reference.Stats) uint64 { return s.Corrupted }},
		"duplicate": {reference.Options{DuplicateEvery: 25},
			func(w loadgen.Wrong) uint64 { return w.Twice },
			func(s reference.Stats) uint64 { return s.Duplicated }},
		"misdirect": {reference.Options{MisdirectEvery: 25},
			func(w loadgen.Wrong) uint64 { return w.Key },
			func(s reference.Stats) uint64 { return s.Misdirected }},
		"reorder": {reference.Options{ReorderEvery: 25},
			func(w loadgen.Wrong) uint64 { return w.Order },
			func(s reference.Stats) uint64 { return s.Reordered }},
	} {
		for _, secure := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, TLS %t", name, secure), func(t *testing.T) {
				t.Parallel()
				opt := tc.opt
				opt.TLS = secure
				s := reference.Start(t, opt)
				f := newFleet(t, s, func(j *loadgen.Job) {
					j.Options.Sampled = 1
					j.Workload.Groups[0].Sizes = []loadgen.Size{{Bytes: 300, Weight: 1}}
				})
				f.ramp()
				r := f.step(loadgen.Step{Rate: 1000, Window: 500 * time.Millisecond})
				did := tc.did(s.Stats())
				if got := tc.wrong(r.Wrong); got != did || did == 0 {
					t.Errorf("%d are told of %d: %+v", got, did, r.Wrong)
				}
			})
		}
	}
}

// TestTwoLoops: pairs with an end on each loop.
func TestTwoLoops(t *testing.T) {
	for _, kind := range []netpoll.Engine{netpoll.EngineEpoll, netpoll.EngineURing} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			if err := netpoll.ProbeURing(); kind == netpoll.EngineURing && err != nil {
				t.Skip(err)
			}
			twoLoops(t, kind)
		})
	}
}

func twoLoops(t *testing.T, kind netpoll.Engine) {
	f := newFleet(t, reference.Start(t, reference.Options{TLS: true}), func(j *loadgen.Job) {
		j.Options.Loops, j.Options.Engine = 2, string(kind)
		g := &j.Workload.Groups[0]
		g.Senders, g.BothWays = 7, true
		g.Arrival = loadgen.Arrival{Kind: loadgen.Poisson}
	})
	f.ramp()
	const tries = 3
	for try := 1; !twoLoopsAgree(t, f); try++ {
		if try == tries {
			t.Fatal("in none of these do the series and the window have about as many packets")
		}
	}
}

// twoLoopsAgree runs a step, and tells whether its series and its window have about as many packets. A
// stall at either end lets them differ.
func twoLoopsAgree(t *testing.T, f *fleet) bool {
	r := f.step(loadgen.Step{Rate: 3000, Warm: 100 * time.Millisecond, Window: time.Second, Ask: true})
	if b := &r.Books; b.Delivered != b.Sent || b.Due < 3000 || r.Wrong.Any() || r.Asked != 15 ||
		r.Answered != 15 {
		t.Errorf("books %+v, wrong %+v, %d of %d answer", *b, r.Wrong, r.Answered, r.Asked)
	}
	sum := uint64(0)
	for _, s := range r.Series {
		sum += s.Delivered
	}
	if len(r.Series) < 3 {
		t.Errorf("a series of %d intervals", len(r.Series))
	}
	got := r.Groups[0].Delivered
	t.Logf("the series has %d packets, the window %d", sum, got)
	return math.Abs(float64(sum)-float64(got)) <= 200
}

// TestFullSpeed: sealed ahead, several frames a write, and nothing of what was sealed and not sent
// spoils the next step.
func TestFullSpeed(t *testing.T) {
	for _, frames := range []int{1, 8, 30} {
		f := newFleet(t, reference.Start(t, reference.Options{TLS: true}), func(j *loadgen.Job) {
			g := &j.Workload.Groups[0]
			g.Share, g.FramesPerWrite = 0, frames
			g.Sizes = []loadgen.Size{{Bytes: 1400, Weight: 1}}
		})
		f.ramp()
		for range 2 {
			var r *loadgen.StepResult
			for range 3 { // a stall may be as long as the window
				r = f.step(loadgen.Step{Window: 200 * time.Millisecond, Ask: true})
				if r.Books.Sent > 0 {
					break
				}
			}
			b := &r.Books
			if b.Sent == 0 || b.Due != b.Sent || r.Wrong.Any() || r.Answered != 13 ||
				r.Failures.Sum() > 0 || b.Sent%uint64(frames) != 0 {
				t.Errorf("%d frames a write: books %+v, wrong %+v, %d answer, failures %v", frames, *b,
					r.Wrong, r.Answered, r.Failures.Lines())
			}
			if r.Slack.Limited == "" && r.Slack.Idle < 0.01 {
				t.Errorf("no idle time, and not called the limit: %+v", r.Slack)
			}
		}
	}
}

// TestInterrupt: a step whose context ends gives what there is, with books that still add up.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	f := newFleet(t, reference.Start(t, reference.Options{TLS: true}), nil)
	f.ramp()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil && f.look(false).sent < 100 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	began := time.Now()
	r, err := f.Step(ctx, loadgen.Step{Rate: 1000, Window: time.Hour, Drain: 5 * time.Second})
	if err != nil || !r.Partial {
		t.Fatalf("partial %t, error %v", r != nil && r.Partial, err)
	}
	b := &r.Books
	// What was due after the interruption does not count as held back: an hour of it would be more.
	if b.Due != b.NotAccepted+b.Sent || b.Delivered != b.Sent || b.Sent == 0 ||
		float64(b.Due) > 1000*time.Since(began).Seconds()+10 {
		t.Errorf("books %+v", *b)
	}
	if p := f.Progress(); p.Phase != loadgen.PhaseReady {
		t.Errorf("phase %v after the step", p.Phase)
	}
}

// TestInterruptAtTheEnd: a step whose context ends in the drain or in the question at its end is
// partial, and says of nobody that he was silent.
func TestInterruptAtTheEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		opt  reference.Options
		ask  bool
		asks bool // it came to that
		when func(*fleet) bool
	}{
		"in the drain": {reference.Options{TLS: true, Delay: 20 * time.Second}, false, false, drains},
		"before the question": {reference.Options{TLS: true, Delay: 20 * time.Second}, true, false,
			drains},
		"in the question": {reference.Options{TLS: true, NoPongs: true}, true, true,
			func(f *fleet) bool { return f.look(false).pinging > 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, reference.Start(t, tc.opt), nil)
			f.ramp()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				for ctx.Err() == nil && !tc.when(f) {
					time.Sleep(time.Millisecond)
				}
				cancel()
			}()
			began := time.Now()
			r, err := f.Step(ctx, loadgen.Step{Rate: 500, Window: 200 * time.Millisecond,
				Drain: time.Minute, Ask: tc.ask})
			if err != nil || !r.Partial {
				t.Fatalf("partial %t, error %v", r != nil && r.Partial, err)
			}
			if r.Failures.Sum() > 0 || (r.Asked > 0) != tc.asks || r.Answered > 0 {
				t.Errorf("%d of %d answered, failures %v", r.Answered, r.Asked, r.Failures.Lines())
			}
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("it ended after %v", took)
			}
		})
	}
}

// drains tells that a step only waits for what is under way.
func drains(f *fleet) bool {
	p := f.Progress()
	return p.Phase == loadgen.PhaseDrain && p.Since > 4*graceSpan
}

// TestPacketsApart: with sender and receiver in one loop and in two, a packet leaves when the one
// before has arrived, however many are due.
func TestPacketsApart(t *testing.T) {
	const delay, gap, window = 3 * time.Millisecond, 2 * time.Millisecond, 300 * time.Millisecond
	for loops := 1; loops <= 2; loops++ {
		f := newFleet(t, reference.Start(t, reference.Options{TLS: true, Delay: delay}),
			func(j *loadgen.Job) {
				g := &j.Workload.Groups[0]
				g.Senders, g.Receivers, g.Apart = 1, 1, gap
				j.Options.Loops = loops
			})
		f.ramp()
		for range 2 {
			r := f.step(loadgen.Step{Rate: 10_000, Window: window})
			f.balanced(r)
			b := &r.Books
			// What was due in the window is written for a while after it.
			if most := uint64(window / (delay + gap)); b.Sent < 2 || b.Sent > 2*most+1 ||
				b.Delivered != b.Sent {
				t.Errorf("%d loops: books %+v, want at most %d in the window", loops, *b, most)
			}
		}
	}
}
