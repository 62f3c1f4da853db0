package stun

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// namespace is a thread in a network namespace of its own, which ends with the thread.
type namespace struct {
	path string // of the namespace, for ip
	work chan func()
}

// newNamespace skips the test where it may not make one, but not in CI, where a test that
// silently does not run would prove nothing.
func newNamespace(t *testing.T) *namespace {
	t.Helper()
	ns := &namespace{work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with us
		err := unix.Unshare(unix.CLONE_NEWNET)
		ns.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		ready <- err
		for f := range ns.work {
			f()
		}
	}()
	t.Cleanup(func() { close(ns.work) })
	err := <-ready
	if err == nil {
		_, err = exec.LookPath("ip")
	}
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatalf("no network namespace in CI: %v", err)
	}
	if err != nil {
		t.Skipf("needs root and ip to make a network namespace: %v", err)
	}
	// Package net finds out once, with loopback addresses and perhaps on this thread, which
	// families the process may use: without lo it would do without IPv6 ever after.
	ns.ip(t, "link set lo up")
	return ns
}

// do runs f on the namespace's thread: sockets that it makes belong to the namespace, and
// so do commands that it starts.
func (ns *namespace) do(f func()) {
	done := make(chan struct{})
	ns.work <- func() { defer close(done); f() }
	<-done
}

// ip runs ip once per line.
func (ns *namespace) ip(t *testing.T, lines string) {
	t.Helper()
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		ns.do(func() {
			out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput()
			if err != nil {
				t.Errorf("ip %s: %v: %s", strings.TrimSpace(line), err, out)
			}
		})
	}
	if t.Failed() {
		t.FailNow()
	}
}

// A host with several addresses on one wire, as seen by another host: without being told,
// the kernel would answer from the first address whichever was asked.
func TestReplySourceOnMultiHomedHost(t *testing.T) {
	host, guest := newNamespace(t), newNamespace(t)
	host.ip(t, "link add wire type veth peer name wire netns "+guest.path)
	host.ip(t, `addr add 10.77.0.1/24 brd + dev wire
		addr add 10.77.0.2/24 dev wire
		addr add fd00:77::1/64 dev wire nodad
		addr add fd00:77::2/64 dev wire nodad
		addr add fe80::77/64 dev wire nodad
		link set wire up`)
	guest.ip(t, `addr add 10.77.0.9/24 brd + dev wire
		addr add fd00:77::9/64 dev wire nodad
		addr add fe80::99/64 dev wire nodad
		link set wire up`)

	var s *Server
	host.do(func() { s = listen(t, "[::]:3478") })
	serve(t, s)
	var zone string
	var c4, c6, local *net.UDPConn
	guest.do(func() {
		wire, err := net.InterfaceByName("wire")
		if err != nil {
			t.Error(err)
			return
		}
		zone = fmt.Sprintf("%%%d", wire.Index)
		c4 = client(t, "10.77.0.9:0")
		c6 = client(t, "[fd00:77::9]:0")
		local = client(t, "[fe80::99"+zone+"]:0")
	})
	for _, tt := range []struct {
		from        *net.UDPConn
		asked, want string
	}{
		{c4, "10.77.0.1", "10.77.0.1"},
		{c4, "10.77.0.2", "10.77.0.2"},
		{c4, "10.77.0.255", "10.77.0.1"}, // broadcast: the host's own address
		{c6, "fd00:77::1", "fd00:77::1"},
		{c6, "fd00:77::2", "fd00:77::2"},
		{local, "fe80::77" + zone, "fe80::77"},
		{c4, "10.77.0.255", "10.77.0.1"}, // behind IPv6, whose control message is shorter
	} {
		to := netip.AddrPortFrom(netip.MustParseAddr(tt.asked), 3478)
		if got := ask(t, tt.from, to); got.Addr().WithZone("").String() != tt.want {
			t.Errorf("asked %v, answered by %v", to, got)
		}
	}
	waitStats(t, s, Stats{Successes: 7, IPv4: 4, IPv6: 3})
}
