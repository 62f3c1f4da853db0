package workloads

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"derpd/loadgen"
	"derpd/loadgen/arrival"
	"derpd/loadgen/packet"
)

// TestEveryWorkloadBuilds: with its own parameters and with others it has the clients that were asked
// for, sends what can be sent, and has a rate exactly where it needs one.
func TestEveryWorkloadBuilds(t *testing.T) {
	for i := range All {
		n := &All[i]
		for _, p := range []Params{{}, {Clients: 500}} {
			w, err := n.Build(p, max(n.Rate, 1))
			if err != nil {
				t.Errorf("%s: %v", n.Name, err)
				continue
			}
			if w.Name != n.Name || n.Text == "" || w.Clients() == 0 && w.STUN == nil {
				t.Errorf("%s: named %q, %d clients, text %q", n.Name, w.Name, w.Clients(), n.Text)
			}
			takesClients := n.Name == "idle" || n.Name == "chatter" || n.Name == "churn" ||
				n.Name == "storm"
			if want := max(p.Clients, n.own.Clients); takesClients && p.Clients > 0 &&
				w.Clients() != p.Clients || takesClients && p.Clients == 0 && w.Clients() != want {
				t.Errorf("%s with %+v has %d clients", n.Name, p, w.Clients())
			}
			share := 0.0
			for _, g := range w.Groups {
				share += g.Share
				for _, s := range g.Sizes {
					if s.Bytes < packet.Min(s.Disco) {
						t.Errorf("%s: packets of %d bytes are too short", n.Name, s.Bytes)
					}
				}
				if err := arrival.Check(g.Arrival); err != nil {
					t.Errorf("%s: %v", n.Name, err)
				}
			}
			if share != 0 && math.Abs(share-1) > 1e-9 {
				t.Errorf("%s: the shares of a step's rate add up to %v", n.Name, share)
			}
		}
	}
}

// TestTakes: a workload changes with the parameters that it takes, and with no other.
func TestTakes(t *testing.T) {
	chosen := []Params{{Clients: 777}, {Active: 0.37}, {Pairs: 7}, {Size: 999}, {Frames: 3},
		{Port: 999}}
	if len(chosen) != len(Parameters) {
		t.Fatalf("%d parameters are tried, there are %q", len(chosen), Parameters)
	}
	for i := range All {
		n := &All[i]
		own, err := n.Build(Params{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		for k, p := range chosen {
			w, err := n.Build(p, 1)
			if err != nil {
				t.Fatal(err)
			}
			changes := !reflect.DeepEqual(w, own)
			if takes := slices.Contains(n.Takes, Parameters[k]); takes != changes {
				t.Errorf("%s takes %s: %t, and changes with it: %t", n.Name, Parameters[k], takes, changes)
			}
		}
	}
}

// TestFullSpeed: rate 0 lets those groups send as fast as TCP takes it that a step sets the rate of,
// and bystanders keep theirs.
func TestFullSpeed(t *testing.T) {
	n, err := Find("incast")
	if err != nil {
		t.Fatal(err)
	}
	w, err := n.Build(Params{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !w.Groups[0].FullSpeed() || w.Groups[1].FullSpeed() || w.Groups[1].Rate != bystandRate {
		t.Errorf("groups %+v", w.Groups)
	}
	if w, _ = n.Build(Params{}, 1000); w.Groups[0].FullSpeed() {
		t.Error("with a rate it is at full speed")
	}
}

func TestMeanOfTheMix(t *testing.T) {
	if got := loadgen.MeanBytes(mix); math.Abs(got-569) > 1 {
		t.Errorf("the mean is %.1f bytes, the text says 569", got)
	}
}

func TestMistakes(t *testing.T) {
	if _, err := Find("dance"); err == nil || !strings.Contains(err.Error(), "slow-reader") {
		t.Errorf("Find says %v, want the names that there are", err)
	}
	n, _ := Find("chatter")
	for want, p := range map[string]Params{
		"-1 clients":    {Clients: -1},
		"share of 1.5":  {Active: 1.5},
		"no UDP port":   {Port: 70000},
		"-2 pairs":      {Pairs: -2},
		"-3 frames":     {Frames: -3},
		"share of -0.5": {Active: -0.5},
	} {
		if _, err := n.Build(p, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
}
