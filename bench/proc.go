package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is what a process has used since its start.
type cpuTime struct{ user, system time.Duration }

func (c cpuTime) sub(o cpuTime) cpuTime { return cpuTime{c.user - o.user, c.system - o.system} }

func (c cpuTime) sum() time.Duration { return c.user + c.system }

// tick is the unit of utime and stime in /proc/PID/stat: USER_HZ, 100 on every Linux port
// this runs on (proc(5)).
const tick = 10 * time.Millisecond

// readCPU returns the processor time of a process, all its threads together, in steps of 10 ms.
func readCPU(pid int) (cpuTime, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return cpuTime{}, err
	}
	return parseStat(b)
}

func parseStat(b []byte) (cpuTime, error) {
	// The second field is the name in parentheses and may hold spaces; fields count from
	// behind it: utime and stime are the 14th and 15th of all, proc(5).
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return cpuTime{}, fmt.Errorf("bench: /proc stat line has %d fields, want 13", len(f))
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	if err1 != nil || err2 != nil {
		return cpuTime{}, fmt.Errorf("bench: /proc stat has times %q and %q", f[11], f[12])
	}
	return cpuTime{time.Duration(user) * tick, time.Duration(system) * tick}, nil
}

// readMachine returns the time that all processors together were not idle or waiting for a
// disk, what the hypervisor kept from them included.
func readMachine() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseMachine(b)
}

// parseMachine reads "cpu user nice system idle iowait irq softirq steal …", proc(5).
func parseMachine(b []byte) (time.Duration, error) {
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, fmt.Errorf("bench: /proc/stat begins with %q", line)
	}
	var sum int64
	for _, i := range []int{1, 2, 3, 6, 7, 8} {
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("bench: /proc/stat has a time %q", f[i])
		}
		sum += n
	}
	return time.Duration(sum) * tick, nil
}

// readRSS returns the resident bytes of a process: anonymous, file and shared pages and huge
// pages of hugetlbfs, which the kernel does not count as resident.
func readRSS(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, name := range []string{"Rss:", "Shared_Hugetlb:", "Private_Hugetlb:"} {
		n, err := kilobytes(b, name)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// kilobytes finds "name  123 kB" and returns it in bytes.
func kilobytes(b []byte, name string) (int64, error) {
	s := bufio.NewScanner(bytes.NewReader(b))
	for s.Scan() {
		if f := strings.Fields(s.Text()); len(f) >= 2 && f[0] == name {
			n, err := strconv.ParseInt(f[1], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("bench: the kernel's table has no line %q", name)
}

// kernelMemory is what all sockets of the machine take, both ends of a loopback connection
// included: TCP buffer pages and the kernel's slabs.
type kernelMemory struct{ buffers, slab int64 }

func readKernelMemory() (kernelMemory, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return kernelMemory{}, err
	}
	var k kernelMemory
	if k.slab, err = kilobytes(b, "Slab:"); err != nil {
		return k, err
	}
	if b, err = os.ReadFile("/proc/net/sockstat"); err != nil {
		return k, err
	}
	pages, err := sockstatPages(b)
	k.buffers = pages * int64(os.Getpagesize())
	return k, err
}

// sockstatPages reads "TCP: inuse 3 orphan 0 tw 0 alloc 5 mem 2".
func sockstatPages(b []byte) (int64, error) {
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		for i := 1; i+1 < len(f) && f[0] == "TCP:"; i++ {
			if f[i] == "mem" {
				return strconv.ParseInt(f[i+1], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("bench: sockstat has no TCP mem field")
}

// onCPU runs start on a thread bound to one processor (any, if cpu is negative). A process
// started there inherits the binding and its runtime sizes itself for it, as under taskset.
//
// The thread must outlive the child, whose death signal is tied to it. It does: the Go
// runtime only ends a thread when a goroutine exits locked to it, and none does here.
func onCPU(cpu int, start func() error) error {
	if cpu < 0 {
		return start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var old, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		return fmt.Errorf("bench: read processor affinity: %w", err)
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("bench: bind the relay to processor %d: %w", cpu, err)
	}
	err := start()
	if back := unix.SchedSetaffinity(0, &old); err == nil && back != nil {
		err = fmt.Errorf("bench: restore processor affinity: %w", back)
	}
	return err
}

// avoidCPU binds every thread of this process to all processors it may use but one, and
// returns the function that undoes it.
func avoidCPU(cpu int) (undo func(), err error) {
	if cpu < 0 {
		return func() {}, nil
	}
	var old unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		return nil, fmt.Errorf("bench: read processor affinity: %w", err)
	}
	rest := old
	rest.Clear(cpu)
	if !old.IsSet(cpu) || rest.Count() == 0 {
		return nil, fmt.Errorf("bench: processor %d for the relay alone needs it and another "+
			"one to be usable; this process may use %d: pass -cpu -1", cpu, old.Count())
	}
	if err := bindThreads(&rest); err != nil {
		return nil, err
	}
	return func() { _ = bindThreads(&old) }, nil // a thread that is left stays where it was
}

// bindThreads goes over the threads twice: one that started during the first pass inherited
// from a thread that may not have been bound yet.
func bindThreads(set *unix.CPUSet) error {
	for range 2 {
		tids, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range tids {
			tid, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			if err := unix.SchedSetaffinity(tid, set); err != nil && err != unix.ESRCH {
				return fmt.Errorf("bench: bind thread %d: %w", tid, err)
			}
		}
	}
	return nil
}
