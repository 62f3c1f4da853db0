package admission

import (
	"fmt"
	"os"
	"testing"
	"time"

	"derpd/interop/harness"

	"tailscale.com/types/key"
)

func TestMain(m *testing.M) {
	if args := os.Getenv(helperVariable); args != "" {
		if err := runHelper(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestVerifyClients asks derpd and derper the same: a key that tailscaled knows is let in and
// another is not; without tailscaled nobody is; and when it returns, all is as before.
func TestVerifyClients(t *testing.T) {
	if testing.Short() {
		t.Skip("not with -short: it needs tailscaled, which takes minutes to build")
	}
	tn := StartTailnet(t)
	relays := map[harness.Kind]*harness.Relay{}
	for kind, args := range map[harness.Kind][]string{
		harness.Derpd:  {"-verify-cache=0"}, // derper asks every time
		harness.Derper: nil,
	} {
		relays[kind] = harness.Start(t, harness.Options{Kind: kind,
			Args: append(args, "-verify-clients", "-socket", tn.Socket)})
	}
	stranger := key.NewNode()
	nobody := func(when string) {
		t.Helper()
		for kind, r := range relays {
			if r.Admits(t, tn.Friend) {
				t.Errorf("%s lets a client in %s", kind, when)
			}
		}
	}
	friends := func(when string) {
		t.Helper()
		for kind, r := range relays {
			for deadline := time.Now().Add(recoverMax); !r.Admits(t, tn.Friend); {
				if time.Now().After(deadline) {
					t.Fatalf("%s refuses a node of the tailnet %s", kind, when)
				}
			}
			if r.Admits(t, stranger) {
				t.Errorf("%s lets a stranger in %s", kind, when)
			}
		}
	}
	nobody("before tailscaled is there")
	tn.Start(t)
	friends("when tailscaled has started")
	r := relays[harness.Derpd]
	p := r.LoginAs(t, tn.Friend)
	p.SendTo(t, p.Key, []byte("from a node of the tailnet"))
	p.WantPacket(t, p.Key, []byte("from a node of the tailnet"))
	tn.Stop(t)
	nobody("when tailscaled has stopped")
	p.Ping(t) // who was let in stays
	tn.Start(t)
	friends("when tailscaled has returned")

	for sample, least := range map[string]float64{
		`derp_admissions{answer="allowed"}`:                3,
		`derp_admissions{answer="denied_by_tailscaled"}`:   2,
		`derp_admissions{answer="tailscaled_unreachable"}`: 2,
	} {
		// A client may hear before it is counted.
		r.WaitMetric(t, sample, func(v float64) bool { return v >= least })
	}
	if lost := r.Metrics(t)[`derp_admission_service_lost{service="tailscaled"}`]; lost != 0 {
		t.Error("tailscaled counts as lost after its return")
	}
}

// TestVerifyCache: for as long as -verify-cache says, an answer outlives the one who gave it.
func TestVerifyCache(t *testing.T) {
	if testing.Short() {
		t.Skip("not with -short: it needs tailscaled, which takes minutes to build")
	}
	tn := StartTailnet(t)
	r := harness.Start(t, harness.Options{Kind: harness.Derpd, Args: []string{
		"-verify-clients", "-socket", tn.Socket, "-verify-cache=4s"}})
	tn.Start(t)
	if !r.Admits(t, tn.Friend) {
		t.Fatal("a node of the tailnet is refused")
	}
	tn.Stop(t)
	if !r.Admits(t, tn.Friend) {
		t.Error("the answer was not used again")
	}
	for deadline := time.Now().Add(recoverMax); r.Admits(t, tn.Friend); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			t.Fatal("the answer is used for ever")
		}
	}
}
