package tailnet

import (
	"fmt"
	"math"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"

	"derpd/interop/harness"
)

// current is the world to take down when the test binary is interrupted.
var current atomic.Pointer[World]

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(helperVariable) {
	case "control":
		err = ServeControl()
	case "metrics":
		err = printMetrics(os.Stdout)
	default:
		interrupted := make(chan os.Signal, 1)
		signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM)
		go func() {
			<-interrupted
			if w := current.Load(); w != nil {
				w.Close()
			}
			os.Exit(1)
		}()
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Two nodes that can reach each other only through the relay: first derpd carries them, then
// derper, in turn, with the same load. derpd must cost less processor time per byte.
func TestTailnet(t *testing.T) {
	if os.Getenv("TAILNET") != "1" {
		t.Skip("needs root and a minute: make tailnet")
	}
	if os.Getuid() != 0 {
		harness.Missing(t, "network namespaces need root")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		harness.Missing(t, "/dev/net/tun is missing")
	}
	for _, program := range []string{"ip", "iperf3"} {
		harness.Need(t, program)
	}

	kinds := []harness.Kind{harness.Under(), harness.DerperNew}
	results := make(map[harness.Kind][]result)
	for round := range rounds {
		for _, kind := range kinds {
			t.Run(fmt.Sprintf("%s %d", kind, round+1), func(t *testing.T) {
				results[kind] = append(results[kind], carry(t, kind))
			})
			if t.Failed() {
				return
			}
		}
	}
	t.Log("\n" + table(kinds, results))
	ours, theirs := cheapest(results[kinds[0]]), cheapest(results[kinds[1]])
	if ours >= theirs {
		t.Errorf("%s costs %.2f CPU seconds per GB of TCP, %s %.2f",
			kinds[0], ours, kinds[1], theirs)
	}
}

// result is one round with one relay.
type result struct {
	latencyMs float64 // netcheck's STUN round trip
	tcp, udp  Load
}

// carry builds a world around one relay and loads it.
func carry(t *testing.T, kind harness.Kind) (res result) {
	w, err := NewWorld(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	current.Store(w)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.Logs())
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	relay, err := w.StartRelay(t, kind)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.StartControl(); err != nil {
		t.Fatal(err)
	}
	a, err := w.StartNode(t, "a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.StartNode(t, "b")
	if err != nil {
		t.Fatal(err)
	}

	check, err := a.Netcheck()
	if err != nil {
		t.Fatal(err)
	}
	latency := check.RegionLatency[fmt.Sprint(regionID)]
	if !check.UDP || check.PreferredDERP != regionID || latency <= 0 {
		t.Fatalf("netcheck does not see the region by STUN: %+v", check)
	}
	res.latencyMs = float64(latency) / 1e6
	t.Logf("netcheck: UDP %v, address %s, region %d at %.2f ms",
		check.UDP, check.GlobalV4, check.PreferredDERP, res.latencyMs)

	pongs, err := a.PingThroughRelay(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("tailscale ping:\n%s", pongs)

	if err := w.StartIperf(b); err != nil {
		t.Fatal(err)
	}
	if res.tcp, err = relay.TCPBothWays(a, b); err != nil {
		t.Fatal(err)
	}
	if res.udp, err = relay.UDP(a, b); err != nil {
		t.Fatal(err)
	}
	return res
}

// cheapest is the least a relay needed for a GB of TCP: what disturbs a round only adds.
func cheapest(results []result) float64 {
	least := math.Inf(1)
	for _, r := range results {
		least = min(least, r.tcp.CPUPerGB)
	}
	return least
}

func table(kinds []harness.Kind, results map[harness.Kind][]result) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "relay\tload\tround\tMbit/s\tback\tlost\tGB relayed\tCPU s\tCPU s/GB\trelay's drops")
	for _, kind := range kinds {
		for i, r := range results[kind] {
			for _, row := range []struct {
				name string
				Load
			}{{"TCP both ways", r.tcp}, {fmt.Sprintf("UDP %d Mbit/s", udpMbitPerSecond), r.udp}} {
				fmt.Fprintf(w, "%s\t%s\t%d\t%.0f\t%.0f\t%s\t%.2f\t%.2f\t%.2f\t%s\n", kind, row.name,
					i+1, row.Forward, row.Back, row.Lost, row.Relayed, row.CPU.Seconds(),
					row.CPUPerGB, row.Drops)
			}
		}
	}
	w.Flush()
	return b.String()
}
