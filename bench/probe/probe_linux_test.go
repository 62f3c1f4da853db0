package probe

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"derpd/loadgen"
	"derpd/loadgen/host"
)

// needs skips a test where the machine, not the code, lacks something.
func needs(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// startScript starts a shell that does what it is told to at the first call of run, which returns
// once that is done.
func startScript(t *testing.T, commands string) (pid int, run func()) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "echo 1; read go; "+commands+"; echo 2; read stop")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	read := func() {
		var b [2]byte
		if _, err := io.ReadFull(out, b[:]); err != nil {
			t.Fatal(err)
		}
	}
	pid = cmd.Process.Pid
	read()
	// It makes one call more, in which it sleeps.
	for state := byte(0); state != 'S'; {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(b), ") ")
		state = after[0]
	}
	return pid, func() { fmt.Fprintln(in, "go"); read() }
}

// TestCountSyscalls counts a shell that makes a known number of calls: one for each builtin kill.
func TestCountSyscalls(t *testing.T) {
	pid, run := startScript(t, `i=0; while [ $i -lt 1000 ]; do kill -0 $$; i=$((i+1)); done
		(i=0; while [ $i -lt 500 ]; do kill -0 $$; i=$((i+1)); done)`)
	c, err := CountSyscalls(pid, true)
	needs(t, err)
	defer c.Close()
	before, err := c.Read()
	if err != nil || before != 0 {
		t.Fatalf("%d calls of a sleeping process, %v", before, err)
	}
	run()
	n, err := c.Read()
	if err != nil {
		t.Fatal(err)
	}
	// The child's are inherited; beside the kills there are reads, fork, wait and write.
	if n < 1500 || n > 1600 {
		t.Errorf("%d calls counted, want 1500 and a few", n)
	}
}

func TestCountSyscallsOfNobody(t *testing.T) {
	if _, err := syscallEvent(); err != nil {
		t.Skip(err)
	}
	if _, err := CountSyscalls(1<<30, true); err == nil || !strings.Contains(err.Error(), "1073741824") {
		t.Errorf("a process that is not there: %v", err)
	}
}

// TestSchedulingIsLeftOut counts a shell that works a known number of times, and whose children
// sleep a known number of times. How many futex calls their C library makes besides is its affair.
func TestSchedulingIsLeftOut(t *testing.T) {
	pid, run := startScript(t, `i=0; while [ $i -lt 1000 ]; do kill -0 $$; i=$((i+1)); done
		for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.001; done`)
	all, err := CountSyscalls(pid, true)
	needs(t, err)
	defer all.Close()
	working, err := CountSyscalls(pid, false)
	needs(t, err)
	defer working.Close()
	run()
	w, err1 := working.Read()
	n, err2 := all.Read()
	if err := errors.Join(err1, err2); err != nil || w < 1000 || n < w+10 {
		t.Errorf("%d calls, %d without sleeping, want 1000 and ten more: %v", n, w, err)
	}
}

// TestSamples looks at a program that only computes, and at one that only lets the kernel copy.
func TestSamples(t *testing.T) {
	for _, tc := range []struct {
		name, commands   string
		userMin, userMax float64 // interrupts for others are the kernel's, too
	}{
		{"computes", "while :; do :; done", .6, 1},
		{"copies", "exec dd if=/dev/zero of=/dev/null bs=1M", 0, .4},
	} {
		cmd := exec.Command("/bin/sh", "-c", tc.commands)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
		s, err := Samples(cmd.Process.Pid)
		needs(t, err)
		defer s.Close()
		clock := func() time.Duration {
			d, err := host.CPUTime(cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		for range 2 { // the second window holds nothing of the first
			outer := clock()
			if err := s.Start(); err != nil {
				t.Fatal(err)
			}
			inner, used := clock(), time.Duration(0)
			for used < 300*time.Millisecond {
				time.Sleep(10 * time.Millisecond)
				used = clock() - inner
			}
			user, system, err := s.Stop()
			if err != nil {
				t.Fatal(err)
			}
			all := user + system
			least, most := used.Seconds()*samplesPerSecond, (clock()-outer).Seconds()*samplesPerSecond
			if float64(all) < least*.7 || float64(all) > most*1.4 {
				t.Errorf("%s: %d samples, want %.0f to %.0f", tc.name, all, least, most)
			}
			if share := float64(user) / float64(all); share < tc.userMin || share > tc.userMax {
				t.Errorf("%s: %.2f of %d samples in the program", tc.name, share, all)
			}
		}
	}
}

func TestSamplesOfNobody(t *testing.T) {
	if s, err := Samples(1 << 30); err == nil || s != nil {
		t.Errorf("a process that is not there: %v, %v", s, err)
	}
}

// TestOwnThread asks for one from the first thread and from all others.
func TestOwnThread(t *testing.T) {
	first := func() bool { return unix.Gettid() == unix.Getpid() }
	asked := false
	for began := time.Now(); !asked && time.Since(began) < 10*time.Second; {
		done := make(chan bool)
		go func() {
			defer close(done)
			asked = first()
			onOwnThread(func() {
				if first() {
					t.Error("it is the first thread")
				}
			})
		}()
		<-done
	}
	if !asked {
		t.Error("the first thread has not come")
	}
}

// TestNothingStaysMounted looks whether the private tracefs is seen by others.
func TestNothingStaysMounted(t *testing.T) {
	mounts := func() string {
		b, err := os.ReadFile("/proc/self/mounts")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	before := mounts()
	if _, err := findSyscallEvent(); err != nil {
		t.Skip(err)
	}
	if after := mounts(); after != before {
		t.Errorf("mounts were\n%s\nand are\n%s", before, after)
	}
}

func TestThrottle(t *testing.T) {
	g, err := Throttle(0.2)
	needs(t, err)
	defer g.Close()
	cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if err := g.Add(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	before, err1 := host.CPUTime(cmd.Process.Pid)
	time.Sleep(500 * time.Millisecond)
	after, err2 := host.CPUTime(cmd.Process.Pid)
	span := time.Since(began)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if used := after - before; used > span/2 {
		t.Errorf("a process held to 20 %% used %v of %v", used, span)
	}
	g.Close()
	if _, err := os.Stat(g.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the group is still there: %v", err)
	}
	if _, err := Throttle(0.01); err == nil || !strings.Contains(err.Error(), "0.1") {
		t.Errorf("a share that cannot be granted: %v", err)
	}
}

func TestFindHierarchy(t *testing.T) {
	with, without := t.TempDir(), t.TempDir()
	for dir, what := range map[string]string{with: "cpuset cpu io\n", without: "memory\n"} {
		err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(what), 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	v1 := "30 24 0:26 / /cg/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
	set := "31 24 0:26 / /cg/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
	v2 := func(dir string) string { return "32 24 0:27 / " + dir + " rw - cgroup2 cgroup2 rw\n" }
	for _, tc := range []struct {
		name, mounts, dir string
		v2                bool
		fails             string
	}{
		{"version 1", set + v2(without) + v1, "/cg/cpu", false, ""},
		{"version 2", "garbage\n" + set + v2(with), with, true, ""},
		{"without cpu", set + v2(without), "", false, "cpu controller"},
		{"none", set, "", false, "no cgroup hierarchy"},
	} {
		h, err := findHierarchy([]byte(tc.mounts))
		if tc.fails != "" {
			if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), tc.fails) {
				t.Errorf("%s: %v", tc.name, err)
			}
			continue
		}
		if err != nil || h != (hierarchy{tc.dir, tc.v2}) {
			t.Errorf("%s: %+v, %v", tc.name, h, err)
		}
	}
}

func TestAllocations(t *testing.T) {
	page, status := "heap profile: 1\n# Mallocs = 1250000\n", http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "relay.invalid" || r.URL.String() != heapPage {
			t.Errorf("asked %q for %q", r.Host, r.URL)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, page)
	}))
	defer s.Close()
	addr := netip.MustParseAddrPort(s.Listener.Addr().String())
	target := loadgen.Target{Addr: addr, Host: "relay.invalid", Plain: true}
	if n, err := Allocations(t.Context(), target); err != nil || n != 1250000 {
		t.Errorf("%d, %v", n, err)
	}
	for _, tc := range []struct {
		page   string
		status int
		want   string
	}{
		{"derp_home 1\n", 200, "has no line"},
		{"x", 403, "403"},
	} {
		page, status = tc.page, tc.status
		_, err := Allocations(t.Context(), target)
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("page %q: %v", tc.page, err)
		}
	}
	target.Plain = false
	if _, err := Allocations(t.Context(), target); !errors.Is(err, ErrUnavailable) {
		t.Errorf("no TLS: %v", err)
	}
}

func FuzzParseMallocs(f *testing.F) {
	f.Add([]byte("heap profile\n# Mallocs = 12\n"))
	f.Add([]byte("# Mallocs = NaN\n"))
	f.Add([]byte("# Mallocs = -1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := parseMallocs(b); err == nil && n >= 1<<53 {
			t.Errorf("%d from %q", n, b)
		}
	})
}
