package engine

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/internal/reference"
	"derpd/stun"
)

// asking is a fleet without clients that asks a STUN server.
func asking(t *testing.T, at netip.AddrPort) *fleet {
	t.Helper()
	return newFleet(t, reference.Start(t, reference.Options{}), func(j *loadgen.Job) {
		j.Targets[0].Addr = at
		j.Workload = loadgen.Workload{STUN: &loadgen.STUN{Port: int(at.Port()), Share: 1, Sockets: 4}}
	})
}

// answers runs a STUN server of the test's own.
func answers(t *testing.T) netip.AddrPort {
	t.Helper()
	s, err := stun.Listen(netip.MustParseAddrPort("127.0.0.1:0"), 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s.Addr()
}

func TestSTUN(t *testing.T) {
	t.Parallel()
	f := asking(t, answers(t))
	r := f.step(loadgen.Step{Rate: 1000, Window: 300 * time.Millisecond})
	if u := r.STUN; u == nil || u.Due < 200 || u.Answered == 0 || u.Latency.Count() == 0 {
		t.Fatalf("%+v", u)
	}
	if s := r.Slack; s.Loops != 1 || s.Idle <= 0 || s.Lag.Count() == 0 {
		t.Errorf("slack %+v, %d lags", s, s.Lag.Count())
	}
}

// At a rate that no generator reaches the step says that the generator was the limit, and what it
// did not send is due and not sent.
func TestSTUNFasterThanTheGenerator(t *testing.T) {
	f := asking(t, answers(t))
	r, err := f.Step(t.Context(), loadgen.Step{Rate: 2e7, Window: 300 * time.Millisecond,
		Drain: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if u := r.STUN; u.Sent >= u.Due*9/10 || u.Answered > u.Sent {
		t.Errorf("%+v", u)
	}
	if !strings.HasPrefix(r.Slack.Limited, "of STUN: ") || r.Slack.Idle > 0.2 {
		t.Errorf("slack %+v", r.Slack)
	}
}

// A step that is interrupted while answers are waited for is partial.
func TestSTUNInterrupted(t *testing.T) {
	t.Parallel()
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	f := asking(t, silent.LocalAddr().(*net.UDPAddr).AddrPort())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil && !drains(f) {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	r, err := f.Step(ctx, loadgen.Step{Rate: 500, Window: 200 * time.Millisecond, Drain: time.Minute})
	if err != nil || !r.Partial || r.STUN.Lost == 0 || r.STUN.Answered != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}
