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
		return Features{}, obstacle(err, release(), sysctl())
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
		return Features{}, obstacle(err, release(), sysctl())
	}
	return try(r)
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
		return Features{}, obstacle(err, release(), sysctl())
	}
	defer b.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Features{}, os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	if err := r.SetFile(0, pair[0]); err != nil {
		return Features{}, obstacle(err, release(), sysctl())
	}
	unix.Write(pair[1], []byte("x")) // cannot fail: the pair is empty
	r.ReceiveMany(0, 1, 1, false, 1)
	r.Wait(Wait{Completions: 1, Timeout: time.Second})
	cqe, ok := r.Next()
	f.ReceiveLimit = ok && cqe.Res == 1
	return f, nil
}

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
		return fmt.Errorf("the io_uring of Linux %s is too old, 6.8 is needed: %w", kernel, err)
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
