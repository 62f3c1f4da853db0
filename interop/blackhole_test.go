package interop

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"derpd/interop/harness"
)

// blackHole returns an address whose listener has no room left, so that the kernel answers
// nobody who connects to it.
func blackHole(t *testing.T) string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
	for range 10 {
		c, err := net.DialTimeout("tcp", addr, 500*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("a listener without room accepts all the same")
	return ""
}

// TestMeshPeersOutOfReach: nodes that do not answer, or refuse, degrade nothing but the way to them,
// for longer than a dial lasts, and are told of once.
func TestMeshPeersOutOfReach(t *testing.T) {
	t.Parallel()
	long(t, "a dial is given up after 10 s")
	derpdOnly(t, "dials a name with port 443 only")
	psk := filepath.Join(t.TempDir(), "mesh.key")
	if err := os.WriteFile(psk, []byte(strings.Repeat("7", 64)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(blackHole(t))
	r := harness.Start(t, harness.Options{Args: []string{"-mesh-psk-file", psk, "-mesh-with",
		"silent.test:" + port + "/127.0.0.1,refuses.test:1/127.0.0.1"}})
	a, b := r.Login(t), r.Login(t)
	for deadline := time.Now().Add(17 * time.Second); time.Now().Before(deadline); {
		a.SendTo(t, b.Key, []byte("still here"))
		b.WantPacket(t, a.Key, []byte("still here"))
		time.Sleep(50 * time.Millisecond)
	}
	for _, peer := range []string{"silent.test", "refuses.test"} {
		if n := strings.Count(r.Log(), "peer="+peer); n != 1 {
			t.Errorf("%d lines about %s, want one:\n%s", n, peer, r.Log())
		}
	}
}
