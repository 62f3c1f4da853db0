package netpoll

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestOwnThread looks whether a loop leaves its thread as it was.
func TestOwnThread(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	slice := func() time.Duration {
		attr, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Skip(err)
		}
		return time.Duration(attr.Runtime)
	}
	before := slice()
	if before == 0 {
		t.Skip("the kernel has no slices that a thread may choose (before Linux 6.12)")
	}
	release := ownThread()
	if got := slice(); got != threadSlice {
		t.Errorf("the slice of a loop is %v, want %v", got, threadSlice)
	}
	release()
	if got := slice(); got != before {
		t.Errorf("the slice is %v afterwards, was %v", got, before)
	}
}
