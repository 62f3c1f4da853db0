package main

import (
	"bufio"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"derpd/netpoll"
)

// withoutURing in the environment of the test binary as derpd has the kernel refuse io_uring, as
// the seccomp profiles of containers do.
const withoutURing = "WITHOUT_IO_URING"

// forbidURing makes io_uring_setup fail with EPERM in every thread of this process.
func forbidURing() error {
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_IO_URING_SETUP},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	return nil
}

// serveOn starts derpd with that -engine and returns what it says: its start line, and its log up
// to then.
func serveOn(t *testing.T, forbidden bool, engine ...string) (line, log string) {
	t.Helper()
	args := append([]string{"-dev", "-a", "127.0.0.1:0", "-stun=false"}, engine...)
	cmd := program(t, args...)
	if forbidden {
		cmd.Env = append(cmd.Env, withoutURing+"=1")
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer kill.Stop()
	line, _ = bufio.NewReader(out).ReadString('\n')
	cmd.Process.Signal(unix.SIGTERM)
	io.Copy(io.Discard, out)
	cmd.Wait() // exit status 1 if it refused to start: there is no line then
	return line, errs.String()
}

func TestEngine(t *testing.T) {
	hasURing := netpoll.ProbeURing() == nil
	for _, c := range []struct {
		name      string
		forbidden bool
		engine    []string
		want      string // in the start line; "": it does not start
		warns     bool
	}{
		{"epoll", false, []string{"-engine", "epoll"}, "epoll loops", false},
		{"io_uring", false, []string{"-engine", "io_uring"}, "io_uring loops", false},
		{"default", false, nil, "io_uring loops", false},
		{"auto where it is forbidden", true, []string{"-engine=auto"}, "epoll loops", true},
		{"epoll where it is forbidden", true, []string{"-engine=epoll"}, "epoll loops", false},
		{"io_uring where it is forbidden", true, []string{"-engine=io_uring"}, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !hasURing && !c.forbidden && c.name != "epoll" {
				t.Skip(netpoll.ProbeURing())
			}
			line, log := serveOn(t, c.forbidden, c.engine...)
			if c.want == "" {
				if line != "" || !strings.Contains(log, "seccomp") ||
					!strings.Contains(log, "use -engine auto") {
					t.Errorf("it says %q, and %q", line, log)
				}
				return
			}
			if !strings.Contains(line, c.want) {
				t.Errorf("the start line is %q, want %q; log: %s", line, c.want, log)
			}
			warned := regexp.MustCompile(`(?m)^.*epoll is used.*seccomp.*$`).FindAllString(log, -1)
			if len(warned) != 0 != c.warns || len(warned) > 1 {
				t.Errorf("warnings %q, want some: %t", warned, c.warns)
			}
		})
	}
}
