package uring

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestProbe(t *testing.T) {
	f, err := Probe()
	if err != nil {
		t.Log("no io_uring here: ", err)
		return
	}
	t.Logf("%+v", f)
	r, err := Open(Config{Entries: 8, Completions: 16})
	if err != nil {
		t.Fatalf("Open fails although Probe succeeds: %v", err)
	}
	r.Close()
}

// TestCloses: the ring of this kernel closes one connection while another waits, or Probe has
// refused it; one that keeps the file is seen.
func TestCloses(t *testing.T) {
	if _, err := Probe(); err != nil {
		t.Skip("no io_uring here: ", err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := Open(Config{Entries: 8, Completions: 16, Files: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Enable(); err != nil {
		t.Fatal(err)
	}
	for _, kept := range []bool{false, true} {
		silent, silentPeer, err := connected()
		if err != nil {
			t.Fatal(err)
		}
		ends, peer, err := connected()
		if err != nil {
			t.Fatal(err)
		}
		keep, err := unix.Dup(ends) // as the kernel did before Linux 6.13
		if err != nil {
			t.Fatal(err)
		}
		if !kept {
			unix.Close(keep)
		}
		if closed, err := endsBehind(r, silent, ends, peer); err != nil || closed == kept {
			t.Errorf("with the file kept %v: closed %v, %v", kept, closed, err)
		}
		if kept {
			unix.Close(keep)
		}
		for _, fd := range []int{silent, silentPeer, peer} {
			unix.Close(fd)
		}
	}
}

// Each obstacle is told with what to do about it.
func TestObstacle(t *testing.T) {
	for _, c := range []struct {
		err      unix.Errno
		disabled string
		want     string
	}{
		{unix.ENOSYS, "", "built without"},
		{unix.EPERM, "2", "set it to 0"},
		{unix.EPERM, "1", "io_uring_group"},
		{unix.EPERM, "0", "seccomp"},
		{unix.EACCES, "", "seccomp"},
		{unix.EINVAL, "0", "5.4.0 is too old"},
		{unix.ENOMEM, "0", "LimitMEMLOCK"},
		{unix.EMFILE, "0", "LimitNOFILE"},
		{unix.EIO, "0", "input/output"},
	} {
		err := obstacle(fmt.Errorf("io_uring_setup: %w", c.err), "5.4.0", c.disabled)
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v with sysctl %q: %v, want %q", c.err, c.disabled, err, c.want)
		}
	}
}

func TestMissing(t *testing.T) {
	p := probe{opsLen: opLast}
	for i := range p.ops {
		p.ops[i].flags = 1
	}
	if err := missing(&p, "6.9"); err != nil {
		t.Error(err)
	}
	p.ops[opURingCmd].flags = 0
	err := missing(&p, "5.15")
	if err == nil || !strings.Contains(err.Error(), "URING_CMD") ||
		!strings.Contains(err.Error(), "5.15") {
		t.Errorf("without URING_CMD: %v", err)
	}
	p.opsLen = opFixedFDInstall
	p.ops[opURingCmd].flags = 1
	if err := missing(&p, "6.7"); err == nil || !strings.Contains(err.Error(), "6.8") {
		t.Errorf("a kernel before FIXED_FD_INSTALL: %v", err)
	}
}
