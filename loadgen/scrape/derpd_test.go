package scrape

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"derpd/loadgen"
)

var serves = regexp.MustCompile(`serves .*? on (\S+), `)

// TestDerpd reads this repository's own relay, over plain TCP and TLS.
func TestDerpd(t *testing.T) {
	if os.Getenv("TEST_EMULATED") != "" { // set by make test-arm64
		t.Skip("emulated: the system cannot execute a program of this architecture")
	}
	exe := filepath.Join(t.TempDir(), "derpd")
	if out, err := exec.Command("go", "build", "-o", exe, "derpd/cmd/derpd").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, tt := range []struct {
		scheme string
		args   []string
	}{
		{"http", []string{"-dev"}},
		{"https", []string{"-certmode=self-signed", "-hostname=relay.example.com", "-http-port=-1"}},
	} {
		addr := startDerpd(t, exe, tt.args...)
		target := loadgen.Target{Addr: addr, Host: "relay.example.com",
			Varz: fmt.Sprintf("%s://relay.example.com/debug/varz", tt.scheme)}
		m, err := Read(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		for _, reason := range []string{"queue_head", "unknown_dest", "gone_disconnected"} {
			if n, ok := m.Dropped[reason]; !ok || n != 0 {
				t.Errorf("%s: %d drops for %s (known: %v)", tt.scheme, n, reason, ok)
			}
		}
		if m.Connections != 0 || m.Clients != 0 || m.RSSBytes < 1<<20 || m.Goroutines < 2 {
			t.Errorf("%s: %+v", tt.scheme, m)
		}
	}
}

// startDerpd runs derpd on a free port of loopback until the test ends.
func startDerpd(t *testing.T, exe string, args ...string) netip.AddrPort {
	t.Helper()
	cmd := exec.Command(exe, append(args, "-a=127.0.0.1:0", "-stun=false",
		"-c="+filepath.Join(t.TempDir(), "key"))...)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"HOME=" + t.TempDir()}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// It says where it serves, or it ends, or it is ended: so the reading below ends too.
	late := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
	t.Cleanup(func() {
		cmd.Process.Kill()
		_ = cmd.Wait() // that it was killed
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := serves.FindStringSubmatch(lines.Text()); m != nil {
			late.Stop()
			go io.Copy(io.Discard, out) // what else it says must not stop it
			return netip.MustParseAddrPort(m[1])
		}
	}
	t.Fatalf("derpd %v did not serve", args)
	return netip.AddrPort{}
}
