package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"derpd/loadgen"
)

// CPU returns the processor time of a process since its start, all its threads together, in steps
// of 10 ms.
func CPU(pid int) (loadgen.CPU, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return loadgen.CPU{}, err
	}
	return parseStat(b)
}

// CPUTime is the processor time of a process since its start, all its threads together. It is
// exact, where CPU counts in steps, and does not tell user from system time.
func CPUTime(pid int) (time.Duration, error) {
	// The clock of a process as the C library's clock_getcpuclockid makes it: the negated number,
	// then the kind, which is 2 for time on a processor.
	const kind = 2
	if pid <= 0 || pid > math.MaxInt32>>3 {
		return 0, fmt.Errorf("host: %d is no process", pid)
	}
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|kind, &t); err != nil {
		return 0, fmt.Errorf("host: processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

func parseStat(b []byte) (loadgen.CPU, error) {
	// The second field is the name in parentheses and may hold spaces; fields count from
	// behind it: utime and stime are the 14th and 15th of all, proc(5).
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return loadgen.CPU{}, fmt.Errorf("host: /proc stat line has %d fields, want 13", len(f))
	}
	user, err1 := parseTicks(f[11])
	system, err2 := parseTicks(f[12])
	return loadgen.CPU{User: user, System: system}, errors.Join(err1, err2)
}

func parseTicks(s string) (time.Duration, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/int64(tick) {
		return 0, fmt.Errorf("host: %q is no count of clock ticks", s)
	}
	return time.Duration(n) * tick, nil
}

// RSS returns the resident bytes of a process: anonymous, file and shared pages and huge pages of
// hugetlbfs, which the kernel does not count as resident. Another user's process tells only the
// kernel's running estimate of it.
func RSS(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err == nil {
		return sumKilobytes(b, "Rss:", "Shared_Hugetlb:", "Private_Hugetlb:")
	}
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	if b, err = os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err != nil {
		return 0, err
	}
	return sumKilobytes(b, "VmRSS:", "HugetlbPages:")
}

func sumKilobytes(b []byte, names ...string) (sum int64, err error) {
	for _, name := range names {
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
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == name {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil || n < 0 || n > math.MaxInt64>>10 {
				return 0, fmt.Errorf("host: line %q is no count of kilobytes", strings.TrimSpace(line))
			}
			return n << 10, nil
		}
	}
	return 0, fmt.Errorf("host: the kernel's table has no line %q", name)
}

// descriptors counts the open files of a process.
func descriptors(pid int) (int, error) {
	path := fmt.Sprintf("/proc/%d/fd", pid)
	// Since Linux 6.2 the folder's size is the count, and counting them one by one is slow.
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if info.Size() > 0 {
		return int(info.Size()), nil
	}
	d, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	return len(names), err
}

// descriptorsMax reads the soft limit of open files; math.MaxInt64 if there is none.
func descriptorsMax(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return 0, err
	}
	return parseOpenFiles(b)
}

// parseOpenFiles reads "Max open files            1024                 4096                 files".
func parseOpenFiles(b []byte) (int64, error) {
	for line := range strings.Lines(string(b)) {
		rest, found := strings.CutPrefix(line, "Max open files")
		f := strings.Fields(rest)
		if !found || len(f) < 2 {
			continue
		}
		if f[0] == "unlimited" {
			return math.MaxInt64, nil
		}
		n, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("host: limit of open files %q is no number", f[0])
		}
		return n, nil
	}
	return 0, errors.New("host: the process's limits have no line \"Max open files\"")
}
