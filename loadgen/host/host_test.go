package host

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What this very process does must show in its readings.
func TestGaugeOfThisProcess(t *testing.T) {
	if os.Getenv("TEST_EMULATED") != "" { // set by make test-arm64
		t.Skip("emulated: qemu-user shows a process its own /proc/PID/stat without processor time")
	}
	g := Gauge{PIDs: []int{os.Getpid()}}
	before, err := g.Read()
	if err != nil {
		t.Fatal(err)
	}
	held := make([]byte, 32<<20)
	var files []*os.File
	for range 10 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	// Burn processor time by that clock, not by the wall's: others may have the processor.
	for used := before.CPU.Sum(); used < before.CPU.Sum()+3*tick; {
		for i := range held {
			held[i]++
		}
		c, err := CPU(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		used = c.Sum()
	}
	after, err := g.Read()
	if err != nil {
		t.Fatal(err)
	}
	if after.CPU.Sum() < before.CPU.Sum()+3*tick {
		t.Errorf("processor time %v, then %v", before.CPU, after.CPU)
	}
	if grown := after.RSSBytes - before.RSSBytes; grown < 24<<20 || held[0] == 0 {
		t.Errorf("%d bytes more are resident, after taking 32 MiB", grown)
	}
	if n := after.Descriptors - before.Descriptors; n < len(files) {
		t.Errorf("%d descriptors more, after opening %d", n, len(files))
	}
	if use := after.Machine.Sub(before.Machine); use.Busy+use.Steal+use.Idle <= 0 {
		t.Errorf("the machine stood still: %+v", use)
	}
	if after.DescriptorsMax < int64(after.Descriptors) || after.Processors < 1 {
		t.Errorf("limit %d, processors %d", after.DescriptorsMax, after.Processors)
	}
}

func TestGaugeWithoutProcess(t *testing.T) {
	if _, err := (Gauge{}).Read(); err == nil {
		t.Error("no process was taken")
	}
	c := exec.Command("/bin/true")
	if err := c.Run(); err != nil {
		t.Skip(err)
	}
	_, err := Gauge{PIDs: []int{c.Process.Pid}}.Read()
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
		t.Errorf("a process that has ended: %v", err)
	}
}

// Open sockets take kernel memory, and it is told which.
func TestKernelSeesSockets(t *testing.T) {
	before, err := ReadKernel()
	if err != nil {
		t.Fatal(err)
	}
	if before.Slabs == nil {
		t.Skip("slabinfo is for root")
	}
	const sockets = 500
	for range sockets {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	after, err := ReadKernel()
	if err != nil {
		t.Fatal(err)
	}
	// A struct tcp_sock has been some 2 KB for many years. Others may close some meanwhile.
	if grown := after.Slabs["TCP"] - before.Slabs["TCP"]; grown < sockets*1000 {
		t.Errorf("%d sockets took %d bytes of slab TCP: %v", sockets, grown, after.Slabs)
	}
}

func TestListeners(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0"} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Logf("%s: %v", at, err) // a machine without IPv6
			continue
		}
		addr := l.Addr().(*net.TCPAddr).AddrPort()
		to := addr
		if addr.Addr().IsUnspecified() {
			to = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.5"), addr.Port())
		}
		pids, err := Listeners(to)
		if err != nil || !slices.Equal(pids, []int{os.Getpid()}) {
			t.Errorf("%v: %v, %v; this is %d", to, pids, err, os.Getpid())
		}
		l.Close()
		if pids, err := Listeners(to); err == nil || !strings.Contains(err.Error(), "nobody") {
			t.Errorf("%v when closed: %v, %v", to, pids, err)
		}
	}
}

func TestReadMachine(t *testing.T) {
	m, err := ReadMachine()
	if err != nil {
		t.Fatal(err)
	}
	if m.CPUs < 1 || m.Memory < 1<<26 || m.Available <= 0 || m.Available > m.Memory ||
		m.Kernel == "" || m.CPU == "" || m.Fingerprint == "" {
		t.Errorf("machine: %+v", m)
	}
	l := m.Limits
	if l.NoFileSoft < 3 || l.NoFileHard < l.NoFileSoft || l.FileMax < 100 || l.SomaxConn < 1 ||
		l.Ports[1] <= l.Ports[0] || l.TCPMem[2] < l.TCPMem[0] {
		t.Errorf("limits: %+v", l)
	}
	b, err := json.Marshal(m)
	var back Machine
	if err != nil || json.Unmarshal(b, &back) != nil || back != m {
		t.Errorf("through JSON: %+v, %v", back, err)
	}
}

// A program must really run where it was put, and the rest of this process elsewhere, until undone.
func TestProcessors(t *testing.T) {
	var before, inside, child, after unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	if before.Count() < 2 || !before.IsSet(0) {
		t.Skip("needs two processors")
	}
	undo, err := AvoidCPU(0)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("/bin/cat")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := OnCPU(0, c.Start); err != nil {
		t.Fatal(err)
	}
	err1 := unix.SchedGetaffinity(0, &inside)
	err2 := unix.SchedGetaffinity(c.Process.Pid, &child)
	count, err5 := processors(c.Process.Pid)
	in.Close()
	err3 := c.Wait()
	undo()
	err4 := unix.SchedGetaffinity(0, &after)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	if inside.IsSet(0) || count != 1 || !child.IsSet(0) || after != before {
		t.Errorf("before %v, inside %v, child %v (%d), after %v", before, inside, child, count, after)
	}
	// Programs name the flag by which it was chosen differently.
	if _, err := AvoidCPU(1023); err == nil || !strings.Contains(err.Error(), "-1 for any") ||
		strings.Contains(err.Error(), "-cpu") {
		t.Errorf("a processor that is not there: %v", err)
	}
	called := false
	if err := OnCPU(-1, func() error { called = true; return nil }); err != nil || !called {
		t.Errorf("any processor: called %v, %v", called, err)
	}
	if undo, err := AvoidCPU(-1); err != nil {
		t.Error(err)
	} else {
		undo()
	}
}

func TestCPUTime(t *testing.T) {
	before, err := CPUTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var u unix.Rusage
	for used := time.Duration(0); used < 20*time.Millisecond; {
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
			t.Fatal(err)
		}
		after, err := CPUTime(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		used = after - before
	}
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	all, err := CPUTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Duration(u.Utime.Nano() + u.Stime.Nano()); (all - want).Abs() > want/10+
		20*time.Millisecond {
		t.Errorf("the clock says %v, getrusage %v", all, want)
	}
	for _, pid := range []int{0, 1 << 22, 1 << 30} {
		if n, err := CPUTime(pid); err == nil {
			t.Errorf("process %d, which cannot be, has used %v", pid, n)
		}
	}
}

// TestBusyProgramIsInterference plants a program that computes: all it used shows as interference
// unless it is known, whatever else the machine does.
func TestBusyProgramIsInterference(t *testing.T) {
	if os.Getenv("TEST_EMULATED") != "" {
		t.Skip("emulated: clocks of other processes are not passed on")
	}
	cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
	before, err := ReadUse()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	var used time.Duration
	for used < 500*time.Millisecond {
		time.Sleep(10 * time.Millisecond)
		if used, err = CPUTime(cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
	}
	after, err := ReadUse()
	if err != nil {
		t.Fatal(err)
	}
	span := after.Sub(before)
	all := float64(span.Busy + span.Steal + span.Idle)
	unknown, known := span.Interference(0).Other, span.Interference(used).Other
	// Idle time is told in steps of 10 ms a processor.
	if share := float64(used) / all; unknown < share-0.03 || known > max(0, unknown-share)+0.001 {
		t.Errorf("a program that used %.3f of the machine shows as %.3f, and as %.3f if it is known",
			share, unknown, known)
	}
}

// TestUseIsExact compares with the sum of what all tasks have run, which only the old cgroups tell,
// while a program works in step with the kernel's ticks.
func TestUseIsExact(t *testing.T) {
	const file = "/sys/fs/cgroup/cpuacct/cpuacct.usage"
	ran := func() time.Duration {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Skip(err)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(n)
	}
	tasks := ran()
	before, err1 := ReadUse()
	for began := time.Now(); time.Since(began) < time.Second; {
		time.Sleep(time.Until(time.Now().Truncate(4 * time.Millisecond).Add(4 * time.Millisecond)))
		for late := time.Now(); time.Since(late) < time.Millisecond; {
		}
	}
	after, err2 := ReadUse()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	tasks = ran() - tasks
	span := after.Sub(before)
	// Interrupts of idle processors belong to no task, idle time is told in steps of 10 ms, and
	// while the hypervisor keeps a processor waiting, that may count as stolen and as something else.
	off := (span.Busy - tasks).Abs()
	if off > 2*tick*time.Duration(runtime.NumCPU())+span.Busy/50+span.Steal {
		t.Errorf("busy for %v, %v were stolen, and all tasks ran for %v", span.Busy, span.Steal, tasks)
	}
}
