package uring

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Features are what some kernels have and can be done without.
type Features struct {
	Incremental  bool // a buffer is filled by several receives (Linux 6.12)
	ReceiveLimit bool // ReceiveMany (Linux 6.17)
}

// needed are the operations without which nothing works.
var needed = []struct {
	op    int
	name  string
	since string
}{
	{opPollAdd, "POLL_ADD", "5.1"},
	{opAccept, "ACCEPT", "5.5"},
	{opAsyncCancel, "ASYNC_CANCEL", "5.5"},
	{opConnect, "CONNECT", "5.5"},
	{opClose, "CLOSE", "5.6"},
	{opSend, "SEND", "5.6"},
	{opRecv, "RECV", "5.6"},
	{opURingCmd, "URING_CMD", "5.19"},
	{opFixedFDInstall, "FIXED_FD_INSTALL", "6.8"}, // later than socket options by URING_CMD
}

// Probe tries what the process may do. An error is one sentence that names the obstacle and,
// where there is one, the remedy.
func Probe() (Features, error) {
	runtime.LockOSThread() // the ring belongs to one thread
	defer runtime.UnlockOSThread()
	r, err := Open(Config{Entries: 8, Completions: 16, Files: 2})
	if err != nil {
		return Features{}, Explain(err)
	}
	defer r.Close()
	var p probe
	_, errno := register(r.fd, registerProbe, unsafe.Pointer(&p), opLast)
	if errno != 0 {
		return Features{}, obstacle(os.NewSyscallError("io_uring_register(PROBE)", errno),
			release(), sysctl())
	}
	if err := missing(&p, release()); err != nil {
		return Features{}, err
	}
	if err := r.Enable(); err != nil {
		return Features{}, Explain(err)
	}
	if err := r.enter(); err != nil { // a filter may forbid each of the three calls on its own
		return Features{}, Explain(err)
	}
	f, err := try(r)
	if err != nil {
		return Features{}, Explain(err)
	}
	closed, err := closes(r)
	if err != nil {
		return Features{}, Explain(err)
	}
	if !closed {
		return Features{}, fmt.Errorf("the io_uring of Linux %s closes a connection only when what "+
			"others wait for is over, 6.13 is needed", release())
	}
	return f, nil
}

// missing looks for operations that the kernel lacks.
func missing(p *probe, kernel string) error {
	for _, n := range needed {
		if n.op >= int(p.opsLen) || p.ops[n.op].flags&1 == 0 {
			return fmt.Errorf("the kernel, Linux %s, lacks the io_uring operation %s, which came with %s",
				kernel, n.name, n.since)
		}
	}
	return nil
}

// try makes buffers and receives over a socket pair.
func try(r *Ring) (f Features, err error) {
	f.Incremental = true
	b, err := NewBuffers(r, 2, os.Getpagesize(), true)
	if errors.Is(err, unix.EINVAL) {
		f.Incremental = false
		b, err = NewBuffers(r, 2, os.Getpagesize(), false)
	}
	if err != nil {
		return Features{}, err
	}
	defer b.Close()
	ours, theirs, err := connected()
	if err != nil {
		return Features{}, err
	}
	defer unix.Close(ours)
	defer unix.Close(theirs)
	if err := r.SetFile(0, ours); err != nil {
		return Features{}, err
	}
	unix.Write(theirs, []byte("x")) // cannot fail: the pair is empty
	r.ReceiveMany(0, 1, 1, false, 1)
	r.Wait(Wait{Completions: 1, Timeout: time.Second})
	cqe, ok := r.Next()
	f.ReceiveLimit = ok && cqe.Res == 1
	return f, nil
}

// closeWait is how long closes waits for the end of a connection, which comes at once if it comes.
const closeWait = 200 * time.Millisecond

// closes tells whether a connection whose place in the table is emptied ends while a request of
// another one is under way. Before Linux 6.13 the kernel let files go in the order in which the
// requests of a ring end, of whatever connection: with one silent client none was closed behind it.
func closes(r *Ring) (bool, error) {
	silent, silentPeer, err := connected()
	if err != nil {
		return false, err
	}
	defer unix.Close(silent)
	defer unix.Close(silentPeer)
	ends, peer, err := connected()
	if err != nil {
		return false, err
	}
	defer unix.Close(peer)
	return endsBehind(r, silent, ends, peer)
}

// endsBehind closes one connection while a request of another waits, and tells whether its peer
// learns of it. It takes over ends.
func endsBehind(r *Ring, silent, ends, peer int) (bool, error) {
	err := r.SetFile(0, silent)
	if err == nil {
		err = r.SetFile(1, ends)
	}
	unix.Close(ends) // the table alone has it now
	if err != nil {
		return false, err
	}
	r.WatchReadable(0, 2)
	r.Submit()
	r.CloseFile(1, 3)
	r.Submit()
	for until := time.Now().Add(closeWait); ; {
		fds := []unix.PollFd{{Fd: int32(peer)}} // POLLHUP is always told
		n, err := unix.Poll(fds, int(max(0, time.Until(until).Milliseconds())))
		if n == 1 || err != unix.EINTR {
			return n == 1, nil
		}
	}
}

// connected makes two ends of a connection.
func connected() (a, b int, err error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	return ends[0], ends[1], os.NewSyscallError("socketpair", err)
}

// Explain is the error of a ring or its buffers with what stands in the way here, and the remedy.
func Explain(err error) error { return obstacle(err, release(), sysctl()) }

// obstacle says why a call failed.
func obstacle(err error, kernel, disabled string) error {
	switch {
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("the kernel, Linux %s, was built without io_uring, or a seccomp filter "+
			"hides it: %w", kernel, err)
	case errors.Is(err, unix.EPERM) && disabled == "2":
		return errors.New("io_uring is switched off on this machine: " +
			"sysctl kernel.io_uring_disabled is 2; set it to 0")
	case errors.Is(err, unix.EPERM) && disabled == "1":
		return errors.New("io_uring is reserved on this machine: sysctl kernel.io_uring_disabled " +
			"is 1; set it to 0, or run as a member of kernel.io_uring_group")
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("io_uring is forbidden to this process, most likely by the seccomp "+
			"profile of its container or unit: %w", err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("the io_uring of Linux %s is too old, 6.13 is needed: %w", kernel, err)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("io_uring gets no memory, raise the limit of locked memory "+
			"(ulimit -l, LimitMEMLOCK=): %w", err)
	case errors.Is(err, unix.EMFILE):
		return fmt.Errorf("io_uring gets no descriptor, raise the limit of open files "+
			"(ulimit -n, LimitNOFILE=): %w", err)
	}
	return fmt.Errorf("io_uring cannot be used: %w", err)
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "of unknown version"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// sysctl is the setting that switches io_uring off, "" where the kernel has none.
func sysctl() string {
	text, _ := os.ReadFile("/proc/sys/kernel/io_uring_disabled") // absent before Linux 6.6
	return strings.TrimSpace(string(text))
}
