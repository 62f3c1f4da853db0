package loadtest

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/engine"
	"derpd/loadgen/launch"
	"derpd/loadgen/meter"
	"derpd/loadgen/workloads"
	"derpd/stun"
)

// asRelay marks the process that is to be the relay.
const asRelay = "BASELINE_AS_RELAY"

// patience bounds what must happen in a moment.
const patience = 20 * time.Second

// Main is a TestMain: relay is the program's main function.
func Main(m *testing.M, relay func()) {
	if os.Getenv(asRelay) != "" {
		relay()
	}
	os.Exit(m.Run())
}

// Relay starts the test binary as a relay and returns where it listens.
func Relay(t *testing.T, plain bool) loadgen.Target {
	t.Helper()
	r, err := start(t.Context(), launch.Options{Plain: plain})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r.Targets[0]
}

// STUN starts the test binary as a relay that answers STUN, asks it once, and fails the test unless
// the answer names the socket that asked.
func STUN(t *testing.T) {
	t.Helper()
	r, err := start(t.Context(), launch.Options{Plain: true, STUN: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	to := netip.AddrPortFrom(r.Targets[0].Addr.Addr(), r.STUNPort)
	conn, err := net.Dial("udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	id := [stun.TransactionLen]byte{1, 2, 3}
	if _, err := conn.Write(stun.AppendRequest(nil, id)); err != nil {
		t.Fatal(err)
	}
	reply := make([]byte, 1500)
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(reply)
	if err != nil {
		t.Fatal(err)
	}
	if got, mapped, ok := stun.ParseReply(reply[:n]); !ok || got != id ||
		mapped.String() != conn.LocalAddr().String() {
		t.Errorf("%x: %v, %v", reply[:n], mapped, ok)
	}
}

// start fills in what options leave open.
func start(ctx context.Context, o launch.Options) (*launch.Region, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	o.Path, o.Env, o.CPU = self, []string{asRelay + "=1"}, -1
	return launch.Start(ctx, o)
}

// Pairs has 10 pairs talk at 5,000 packets a second for 1 s. What arrives must be right, and what
// does not must have been dropped and counted, as happens where the machine is busy with others.
// options may say how clients log in.
func Pairs(t *testing.T, target loadgen.Target, options loadgen.Options) {
	t.Helper()
	const rate = 5000
	r := step(t, target, options, "bulk", loadgen.Step{Rate: rate, Window: time.Second})
	b := &r.Books
	if b.Due < rate*9/10 || b.Due > rate*11/10 {
		t.Errorf("%d packets were due in 1 s, want about %d", b.Due, rate)
	}
}

// Frozen has one receiver that never reads beside pairs that do: what the relay drops for it must
// be what is missing.
func Frozen(t *testing.T, target loadgen.Target) {
	t.Helper()
	r := step(t, target, loadgen.Options{}, "slow-reader",
		loadgen.Step{Rate: 20_000, Window: time.Second})
	if r.Books.Drops() == 0 {
		t.Errorf("nothing was dropped for a client that does not read: books %+v", r.Books)
	}
	g := r.Groups[len(r.Groups)-1]
	if g.Name != "bystanders" || g.Delivered == 0 {
		t.Errorf("%s got %d of %d packets beside a client that does not read", g.Name, g.Delivered,
			g.Due)
	}
}

// RefusesTLS sees that a relay without TLS says so, instead of serving something else.
func RefusesTLS(t *testing.T) {
	t.Helper()
	r, err := start(t.Context(), launch.Options{})
	if err == nil {
		r.Stop()
		t.Fatal("it runs")
	}
	for _, want := range []string{"ended", "status 2", "-certmode manual", "-certmode letsencrypt"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it says %q, want %q in it", err, want)
		}
	}
}

// step runs a workload once and checks what must hold in all of them.
func step(t *testing.T, target loadgen.Target, o loadgen.Options, name string,
	s loadgen.Step) *loadgen.StepResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	named, err := workloads.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := named.Build(workloads.Params{}, s.Rate)
	if err != nil {
		t.Fatal(err)
	}
	job := loadgen.Job{Targets: []loadgen.Target{target}, Workload: w, Options: o}
	inner, err := engine.New(job)
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	fleet := meter.New(inner, job)
	ramp, err := fleet.Ramp(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if ramp.Clients != ramp.Wanted || ramp.Wanted != w.Clients() {
		t.Fatalf("%d of %d clients are in: %v", ramp.Clients, ramp.Wanted, ramp.Failures.Lines())
	}
	s.Drain, s.Ask = time.Second, true
	r, err := fleet.Step(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	b := &r.Books
	switch {
	case !b.DroppedKnown:
		t.Errorf("the relay's drops are not known: %s", r.Notes["drops"])
	case b.Unexplained() != 0 || b.Delivered == 0:
		t.Errorf("%d packets are lost without an explanation: books %+v", b.Unexplained(), *b)
	}
	if r.Wrong.Any() || r.Failures.Sum() > 0 {
		t.Errorf("wrong packets: %+v; failures: %v", r.Wrong, r.Failures.Lines())
	}
	if r.Asked != ramp.Clients || r.Answered != r.Asked {
		t.Errorf("%d of %d clients got a Pong", r.Answered, r.Asked)
	}
	return r
}
