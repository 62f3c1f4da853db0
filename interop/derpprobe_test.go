package interop

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"derpd/interop/harness"

	"tailscale.com/tailcfg"
)

// probeWaitMax bounds one run of derpprobe; it gives itself up to a minute.
const probeWaitMax = 2 * time.Minute

// Tailscale's own monitor, everything it can probe once: the map, TLS, STUN, packets between
// two nodes, and bandwidth.
func TestDerpprobe(t *testing.T) {
	t.Parallel()
	long(t, "it needs derpprobe, which takes a minute to build")
	// derpprobe resolves the name for its TLS probe, so it must be one that resolves.
	r := harness.Start(t, harness.Options{TLS: true, Host: "127.0.0.1", Hostname: "localhost"})
	derpMap := writeDERPMap(t, r)
	program := harness.Build(t, "derpprobe")
	ctx, cancel := context.WithTimeout(context.Background(), probeWaitMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-once", "-spread=false",
		"-bw-interval=10s", "-bw-probe-size-bytes=10000000", "-derp-map=file://"+derpMap)
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+r.Certs.CAFile)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("derpprobe: %v\n%s", err, out)
	}
	var good []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "bad:") {
			t.Error(strings.TrimSpace(line))
		}
		if _, probe, ok := strings.Cut(line, "good: "); ok {
			good = append(good, strings.TrimSpace(probe))
		}
	}
	t.Logf("good: %s", strings.Join(good, "\n      "))
	for _, want := range []string{"derpmap-probe", "/tls:", "/udp:", "/mesh:", "/bw:"} {
		if !strings.Contains(strings.Join(good, "\n"), want) {
			t.Errorf("no good probe with %q in its name:\n%s", want, out)
		}
	}
}

// writeDERPMap writes a map with one region whose one node is the relay.
func writeDERPMap(t *testing.T, r *harness.Relay) string {
	t.Helper()
	host, derpPort := splitAddr(t, r.Addr)
	_, stunPort := splitAddr(t, r.STUNAddr)
	m := &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{900: {
		RegionID: 900, RegionCode: "test", RegionName: "Test",
		Nodes: []*tailcfg.DERPNode{{
			Name: "900a", RegionID: 900, HostName: r.Hostname, IPv4: host,
			DERPPort: derpPort, STUNPort: stunPort,
		}},
	}}}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "derpmap.json")
	overwrite(t, path, string(b))
	return path
}

func splitAddr(t *testing.T, addr string) (host string, port int) {
	t.Helper()
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	if port, err = strconv.Atoi(p); err != nil {
		t.Fatal(err)
	}
	return host, port
}
