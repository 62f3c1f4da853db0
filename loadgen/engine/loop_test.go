package engine

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestGoFirst: a thread that may goes first, and is an ordinary one again afterwards.
func TestGoFirst(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	nice := func() int {
		n, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
		if err != nil {
			t.Fatal(err)
		}
		return 20 - n
	}
	was, want := nice(), firstNice
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, was-1); err != nil {
		want = was // it stays what it is
	} else if err := unix.Setpriority(unix.PRIO_PROCESS, 0, was); err != nil {
		t.Fatal(err)
	}
	restore := goFirst()
	if got := nice(); got != want {
		t.Errorf("nice %d, want %d", got, want)
	}
	if restore(); nice() != was {
		t.Errorf("nice %d afterwards, want %d", nice(), was)
	}
}
