package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Use is processor time of the whole machine, over all processors, since a moment long ago: only
// the difference of two readings means something.
type Use struct {
	Busy  time.Duration `json:"busy_ns"`  // in programs, the kernel and interrupts
	Steal time.Duration `json:"steal_ns"` // what the hypervisor gave to others
	Idle  time.Duration `json:"idle_ns"`  // waiting for disks included
	// Softirq is the part of Busy in ksoftirqd, the kernel's threads that go on with packets when
	// there are many: over loopback they work for whoever sends or receives, and are charged to
	// nobody. 0 in a container that does not see them.
	Softirq time.Duration `json:"softirq_ns"`
}

// Sub is the difference of two readings.
func (u Use) Sub(before Use) Use {
	return Use{u.Busy - before.Busy, u.Steal - before.Steal, u.Idle - before.Idle,
		u.Softirq - before.Softirq}
}

// Interference is what others did to a measurement, as shares of all processors, 0 to 1.
type Interference struct {
	Steal float64 `json:"steal"` // the hypervisor's other guests
	Other float64 `json:"other"` // other processes of this machine
}

// Interference tells what of an interval's use was not known, known being the processor time in it
// of the relay and the generator.
func (u Use) Interference(known time.Duration) Interference {
	all := float64(u.Busy + u.Steal + u.Idle)
	if all <= 0 {
		return Interference{}
	}
	// Readings are not made at one moment, so a small difference may be negative.
	return Interference{Steal: max(0, float64(u.Steal)/all),
		Other: max(0, float64(u.Busy-u.Softirq-known)/all)}
}

// ReadUse reads the clock and /proc/stat.
//
// What is busy is all time that is neither idle nor stolen, which the kernel measures. Its own sums
// of user and system time are not used: most kernels look at each tick of 4 ms what a processor
// does, and a program that runs in step with the ticks, as one that is held to 1 ms in 10 does, is
// seen at twice of what it uses, or at nothing.
func ReadUse() (Use, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Use{}, err
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return Use{}, fmt.Errorf("host: the clock: %w", err)
	}
	u, err := parseUse(b, time.Duration(now.Nano()))
	for _, pid := range softirqThreads() {
		if t, err := CPUTime(pid); err == nil { // its processor may have been taken away
			u.Softirq += t
		}
	}
	return u, err
}

// parseUse reads "cpu user nice system idle iowait irq softirq steal …" and a line for each
// processor, proc(5).
func parseUse(b []byte, now time.Duration) (Use, error) {
	first, rest, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(first)
	if len(f) < 9 || f[0] != "cpu" {
		return Use{}, fmt.Errorf("host: /proc/stat begins with %q", first)
	}
	var t [3]time.Duration
	for i, field := range []string{f[4], f[5], f[8]} {
		var err error
		if t[i], err = parseTicks(field); err != nil {
			return Use{}, err
		}
	}
	cpus := 0
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, "cpu") {
			break
		}
		cpus++
	}
	if cpus == 0 {
		return Use{}, errors.New("host: /proc/stat lists no processor")
	}
	u := Use{Idle: t[0] + t[1], Steal: t[2]}
	u.Busy = time.Duration(cpus)*now - u.Idle - u.Steal
	return u, nil
}

// softirqThreads are the processes named ksoftirqd/0 and so on, which live as long as the kernel.
var softirqThreads = sync.OnceValue(func() (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/comm") // the pattern is well formed
	for _, file := range files {
		name, err := os.ReadFile(file)
		if err != nil || !bytes.HasPrefix(name, []byte("ksoftirqd/")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
})
