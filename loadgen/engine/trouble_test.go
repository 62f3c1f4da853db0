package engine

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/internal/reference"
)

// TestNobodyGetsIn: each way to fail has its class and an example that says what was wrong.
func TestNobodyGetsIn(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := loadgen.Target{Addr: netip.MustParseAddrPort(closed.Addr().String()), Plain: true}
	closed.Close()
	plain := reference.Start(t, reference.Options{})
	secured := plain.Target()
	secured.Plain = false
	for name, tc := range map[string]struct {
		target loadgen.Target
		class  loadgen.Failure
		says   string
	}{
		"refused": {nobody, loadgen.FailRefused, "connection refused"},
		"HTTP error": {reference.Start(t, reference.Options{TLS: true, Status: 503}).Target(),
			loadgen.FailHTTP, "503"},
		"garbage": {reference.Start(t, reference.Options{TLS: true, Garbage: true}).Target(),
			loadgen.FailProtocol, ""},
		"refused login": {reference.Start(t, reference.Options{TLS: true, RefuseEvery: 1}).Target(),
			loadgen.FailLogin, "before"},
		"plain behind TLS": {secured, loadgen.FailTLS, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, plain, func(j *loadgen.Job) {
				j.Targets = []loadgen.Target{tc.target}
				if tc.class == loadgen.FailHTTP || tc.class == loadgen.FailProtocol {
					j.Options.FastLog = "off" // with it the answer is not looked at
				}
			})
			_, err := f.Ramp(t.Context())
			if err == nil || !strings.Contains(err.Error(), string(tc.class)+": ") ||
				!strings.Contains(err.Error(), tc.says) {
				t.Errorf("Ramp says %v, want class %s and %q", err, tc.class, tc.says)
			}
		})
	}
}

// TestSomeGetIn: clients that fail at first are tried again and counted.
func TestSomeGetIn(t *testing.T) {
	t.Parallel()
	f := newFleet(t, reference.Start(t, reference.Options{TLS: true, RefuseEvery: 5}), nil)
	r := f.ramp()
	if c := r.Failures[loadgen.FailLogin]; r.Clients != 13 || c == nil || c.Count == 0 {
		t.Errorf("%d of %d are in, failures %v", r.Clients, r.Wanted, r.Failures.Lines())
	}
}

// TestSilentRelay: a login that is never answered ends by its time.
func TestSilentRelay(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections into its queue, and that is all
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f := newFleet(t, reference.Start(t, reference.Options{}), func(j *loadgen.Job) {
		j.Targets = []loadgen.Target{{Addr: netip.MustParseAddrPort(l.Addr().String())}}
		j.Options.LoginFor = 200 * time.Millisecond
	})
	_, err = f.Ramp(t.Context())
	if err == nil || !strings.Contains(err.Error(), "timeout: ") {
		t.Errorf("Ramp says %v", err)
	}
}

// TestRelayCutsInMidRun: connections that the relay cuts are counted, the clients come back, and
// what went down with them is in flight, not unexplained.
func TestRelayCutsInMidRun(t *testing.T) {
	for _, reset := range []bool{true, false} {
		t.Run(fmt.Sprintf("reset %t", reset), func(t *testing.T) {
			t.Parallel()
			relayCuts(t, reset)
		})
	}
}

func relayCuts(t *testing.T, reset bool) {
	s := reference.Start(t, reference.Options{TLS: true, Delay: 20 * time.Millisecond})
	f := newFleet(t, s, nil)
	f.ramp()
	time.AfterFunc(500*time.Millisecond, func() { s.Cut(reset) })
	r := f.step(loadgen.Step{Rate: 2000, Window: 4 * time.Second, Ask: true})
	// What was on its way to a relay that closes makes its kernel answer with a RST.
	n := uint64(0)
	for _, class := range []loadgen.Failure{loadgen.FailReset, loadgen.FailClosed} {
		if c := r.Failures[class]; c != nil {
			n += c.Count
		}
	}
	if n != 13 || !reset && r.Failures[loadgen.FailClosed] == nil {
		t.Errorf("reset %t: failures %v, want 13", reset, r.Failures.Lines())
	}
	if r.Logins != 13 || r.Clients != 13 || r.Answered != 13 {
		t.Errorf("reset %t: %d logins, %d in at the end, %d answer", reset, r.Logins, r.Clients,
			r.Answered)
	}
	b := &r.Books
	if b.NotAccepted == 0 || b.Due != b.NotAccepted+b.Sent || b.Sent < b.Delivered ||
		b.InFlight < b.Sent-b.Delivered {
		t.Errorf("reset %t: books %+v", reset, *b)
	}
}

// TestChurn: idle clients leave and others come, and nobody calls that a failure.
func TestChurn(t *testing.T) {
	t.Run("one loop", func(t *testing.T) { churns(t, false) })
	t.Run("a loop for the pairs", func(t *testing.T) { churns(t, true) })
}

func churns(t *testing.T, own bool) {
	t.Parallel()
	s := reference.Start(t, reference.Options{TLS: true})
	f := newFleet(t, s, func(j *loadgen.Job) {
		j.Workload.Idle, j.Workload.Groups[0].OwnLoop = 50, own
		j.Workload.Churn = &loadgen.Churn{PerSecond: 40}
	})
	f.ramp()
	began := time.Now()
	r := f.step(loadgen.Step{Rate: 500, Window: 2 * time.Second, Ask: true})
	most := uint64(40*time.Since(began).Seconds()) + 10
	if r.Logins < 10 || uint64(r.Logins) > most || r.Failures.Sum() > 0 || r.Clients > 60 {
		t.Errorf("%d logins, %d in at the end, failures %v", r.Logins, r.Clients, r.Failures.Lines())
	}
	for began := time.Now(); f.look(false).open != 60; time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second { // who left last may have been on the way back
			t.Fatalf("%d of 60 are in", f.look(false).open)
		}
	}
	if r.Books.Delivered != r.Books.Sent {
		t.Errorf("books %+v", r.Books)
	}
}

// TestStorm: all idle clients are cut at once and come back; the pairs do not notice.
func TestStorm(t *testing.T) {
	t.Parallel()
	s := reference.Start(t, reference.Options{TLS: true})
	f := newFleet(t, s, func(j *loadgen.Job) {
		j.Workload.Idle, j.Workload.Groups[0].OwnLoop = 6*cutsPerTurn, true
		j.Workload.Cut = &loadgen.Cut{After: 200 * time.Millisecond, Share: 0.5}
	})
	f.ramp()
	const all = 6*cutsPerTurn + 10
	const window = 4 * time.Second // on a busy machine it takes more than one until all are back
	r := f.step(loadgen.Step{Rate: 500, Window: window, Ask: true})
	if r.Logins != 3*cutsPerTurn || r.Clients != all || r.Answered != all || r.Failures.Sum() > 0 ||
		r.Readmit <= 0 || r.Readmit > window+10*time.Second { // the drain
		t.Errorf("%d logins in %v, %d in at the end, %d answer, failures %v", r.Logins, r.Readmit,
			r.Clients, r.Answered, r.Failures.Lines())
	}
	if r.Books.Delivered != r.Books.Sent {
		t.Errorf("books %+v", r.Books)
	}
}

// TestStormAtARate: a bounded rate of logins holds for those who come back too, in each step, and
// the drain waits for them.
func TestStormAtARate(t *testing.T) {
	t.Parallel()
	f := newFleet(t, reference.Start(t, reference.Options{TLS: true}), func(j *loadgen.Job) {
		j.Workload.Idle, j.Options.PerSec, j.Options.LoginsAt = 100, 100, 10
		j.Workload.Cut = &loadgen.Cut{After: 100 * time.Millisecond, Share: 1}
	})
	f.ramp()
	const least = 900 * time.Millisecond // ten may come at once
	for range 2 {
		r := f.step(loadgen.Step{Rate: 100, Window: 300 * time.Millisecond, Drain: 20 * time.Second})
		if r.Logins != 100 || r.Readmit < least || r.Failures.Sum() > 0 {
			t.Errorf("%d logins in %v, failures %v", r.Logins, r.Readmit, r.Failures.Lines())
		}
	}
}

// TestReceiversThatDoNotRead: what they are sent is in flight as long as nobody drops it.
func TestReceiversThatDoNotRead(t *testing.T) {
	t.Parallel()
	s := reference.Start(t, reference.Options{TLS: true})
	f := newFleet(t, s, func(j *loadgen.Job) {
		slow := j.Workload.Groups[0]
		slow.Name, slow.Senders, slow.Receivers, slow.Share = "slow", 1, 1, 0
		slow.Rate, slow.Sizes = 100, []loadgen.Size{{Bytes: 1000, Weight: 1}}
		slow.Reading = loadgen.Reading{BytesPerSecond: 20_000}
		frozen := slow
		frozen.Name, frozen.Reading = "frozen", loadgen.Reading{Never: true}
		j.Workload.Groups = append(j.Workload.Groups, slow, frozen)
	})
	f.ramp()
	r, err := f.Step(t.Context(), loadgen.Step{Rate: 500, Window: 2 * time.Second,
		Drain: time.Second, Ask: true})
	if err != nil {
		t.Fatal(err)
	}
	if g := r.Groups[2]; g.Sent < 100 || g.Delivered != 0 {
		t.Errorf("the frozen receiver got %d of %d", g.Delivered, g.Sent)
	}
	if g := r.Groups[1]; g.Delivered < 10 || g.Bytes > 100_000 {
		t.Errorf("the slow receiver got %d packets, %d bytes, of 60,000 that it may read", g.Delivered,
			g.Bytes)
	}
	if g := r.Groups[0]; g.Sent < 500 || g.Delivered+50 < g.Sent {
		t.Errorf("the others got %d of %d", g.Delivered, g.Sent)
	}
	b := &r.Books
	if b.Sent != b.Delivered+b.InFlight || r.Answered != r.Asked || r.Asked != 17 {
		t.Errorf("books %+v, %d of %d answer", *b, r.Answered, r.Asked)
	}
}

// TestSlowReceiverComesBack: one that is cut logs in as anybody does, and reads slowly from then on.
func TestSlowReceiverComesBack(t *testing.T) {
	t.Parallel()
	s := reference.Start(t, reference.Options{TLS: true})
	f := newFleet(t, s, func(j *loadgen.Job) {
		g := &j.Workload.Groups[0]
		g.Reading = loadgen.Reading{BytesPerSecond: 50_000}
	})
	f.ramp()
	cut := time.AfterFunc(500*time.Millisecond, func() { s.Cut(true) })
	defer cut.Stop()
	r := f.step(loadgen.Step{Rate: 100, Window: 5 * time.Second})
	if r.Logins != 13 || r.Clients != 13 || r.Failures[loadgen.FailTimeout] != nil {
		t.Errorf("%d logins, %d in at the end, of 13; failures %v", r.Logins, r.Clients,
			r.Failures.Lines())
	}
	slow := 0
	for i := range f.clients {
		if f.clients[i].slow != nil {
			slow++
		}
	}
	if slow > 0 {
		t.Errorf("%d clients read slowly after the step", slow)
	}
}

// TestOwnLoop: the clients of such a group have a loop that nobody else has; logins keep to their
// rate, and the loop counts as no further processor.
func TestOwnLoop(t *testing.T) {
	t.Parallel()
	s := reference.Start(t, reference.Options{})
	f := newFleet(t, s, func(j *loadgen.Job) {
		g := j.Workload.Groups[0]
		g.Name, g.OwnLoop = "apart", true
		j.Workload.Groups = append(j.Workload.Groups, g)
		j.Workload.Groups[0].Share, j.Workload.Groups[1].Share = 0.5, 0.5
		j.Workload.Idle, j.Options.Loops, j.Options.PerSec = 80, 2, 100
	})
	for _, l := range f.loops {
		for _, i := range l.own {
			if own := f.clientsAt[i].group == 1; own != (l == f.loops[2]) {
				t.Errorf("client %d of group %d is in loop %d", i, f.clientsAt[i].group, l.id)
			}
		}
	}
	if r := f.ramp(); r.Took < 700*time.Millisecond || r.Took > 3*time.Second {
		t.Errorf("100 logins took %v at 100 a second", r.Took)
	}
	r := f.step(loadgen.Step{Rate: 500, Window: 500 * time.Millisecond, Busy: true, Ask: true})
	f.balanced(r)
	if r.Books.Delivered != r.Books.Sent || r.Slack.Loops != 2 {
		t.Errorf("books %+v, %d loops", r.Books, r.Slack.Loops)
	}
}
