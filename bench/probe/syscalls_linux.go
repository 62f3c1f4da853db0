package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Counter counts the system calls of a process. While it is open the whole machine enters the
// kernel a little more slowly, so nothing should be timed meanwhile.
type Counter struct{ fds []int }

// tracepoint is the event of every system call of a 64-bit process, below a tracefs.
const tracepoint = "events/raw_syscalls/sys_enter/id"

// schedulerCalls are those that the Go runtime makes to start and stop its threads and to keep the
// time (sysmon): their number follows from the clock rather than from what a program does.
var schedulerCalls = fmt.Sprintf("id != %d && id != %d && id != %d", unix.SYS_FUTEX,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP)

// CountSyscalls counts those of a process from now on, and of threads that it starts later;
// without scheduling those that the Go runtime makes for its threads and its clock are left out. It
// needs root, or CAP_PERFMON and a tracefs that may be read.
func CountSyscalls(pid int, scheduling bool) (*Counter, error) {
	id, err := syscallEvent()
	if err != nil {
		return nil, unavailable("the number of the event raw_syscalls:sys_enter: %w", err)
	}
	for range countTriesMax {
		c, whole, err := countThreads(pid, id)
		if err == nil && whole && !scheduling {
			err = c.leaveOut(schedulerCalls)
		}
		if err != nil || whole {
			return c, err
		}
		c.Close()
	}
	return nil, fmt.Errorf("probe: process %d starts threads faster than they can be counted", pid)
}

// leaveOut counts only what passes a filter of the event's fields. Threads inherit it.
func (c *Counter) leaveOut(filter string) error {
	text, err := unix.BytePtrFromString(filter)
	if err != nil {
		return err
	}
	for _, fd := range c.fds {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.PERF_EVENT_IOC_SET_FILTER,
			uintptr(unsafe.Pointer(text)))
		if errno != 0 {
			c.Close()
			return unavailable("a filter on a perf event: %w", errno)
		}
	}
	return nil
}

// countThreads counts all threads of a process. They inherit the event to those that they start.
// One that came while this worked may have inherited it or not: then the counter is not whole.
func countThreads(pid int, id uint64) (c *Counter, whole bool, err error) {
	before, err := threads(pid)
	if err != nil {
		return nil, false, err
	}
	c = &Counter{}
	for _, tid := range before {
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id,
			Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Bits: unix.PerfBitInherit}
		fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		switch {
		case errors.Is(err, unix.ESRCH): // it has ended
		case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOSYS):
			c.Close()
			return nil, false, unavailable("perf_event_open: %w", err)
		case err != nil:
			c.Close()
			return nil, false, fmt.Errorf("probe: perf_event_open of thread %d: %w", tid, err)
		default:
			c.fds = append(c.fds, fd)
		}
	}
	after, err := threads(pid)
	if err != nil {
		c.Close()
		return nil, false, err
	}
	for _, tid := range after {
		if !slices.Contains(before, tid) {
			return c, false, nil
		}
	}
	return c, true, nil
}

func threads(pid int) (tids []int, err error) {
	dir, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, fmt.Errorf("probe: threads of process %d: %w", pid, err)
	}
	for _, entry := range dir {
		if tid, err := strconv.Atoi(entry.Name()); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids, nil
}

// Read is how many there were since the counter was opened.
func (c *Counter) Read() (sum uint64, err error) {
	for _, fd := range c.fds {
		var b [8]byte
		n, err := unix.Read(fd, b[:])
		if err != nil || n != len(b) {
			return 0, fmt.Errorf("probe: read a perf event: %d bytes, %w", n, err)
		}
		sum += binary.NativeEndian.Uint64(b[:])
	}
	return sum, nil
}

// Close ends the counting.
func (c *Counter) Close() {
	for _, fd := range c.fds {
		_ = unix.Close(fd) // holds nothing
	}
	c.fds = nil
}

// Prepare finds out what can be counted here. It must be called before a process is started that is
// to end with the thread that started it: it may end a thread.
func Prepare() { _, _ = syscallEvent() } // whoever counts gets the error

// syscallEvent is the event's number.
var syscallEvent = sync.OnceValues(findSyscallEvent)

// findSyscallEvent looks in a tracefs that is mounted, or in one that only a thread of ours sees.
func findSyscallEvent() (id uint64, err error) {
	for _, at := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		if id, err := readEvent(at); err == nil {
			return id, nil
		}
	}
	onOwnThread(func() { id, err = privateEvent() })
	return id, err
}

// onOwnThread runs fn on a thread that ends then, and its mounts with it. A process's first thread
// never ends, and what it sees mounted is what the process seems to see, so it is another.
func onOwnThread(fn func()) {
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread() // and not unlocked
		if unix.Gettid() == unix.Getpid() {
			onOwnThread(fn) // the first thread is taken meanwhile
			runtime.UnlockOSThread()
			return
		}
		fn()
	}()
	<-done
}

func privateEvent() (uint64, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return 0, fmt.Errorf("no tracefs is mounted, and a private one takes root: %w", err)
	}
	// Mounts of this thread must not reach the machine's other programs.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 0, fmt.Errorf("make mounts private: %w", err)
	}
	const at = "/sys/kernel/tracing"
	if err := unix.Mount("tracefs", at, "tracefs", 0, ""); err != nil {
		return 0, fmt.Errorf("mount tracefs: %w", err)
	}
	return readEvent(at)
}

func readEvent(tracefs string) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(tracefs, tracepoint))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}
