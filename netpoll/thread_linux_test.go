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
	release := ownThread(time.Millisecond)
	if got := slice(); got != time.Millisecond {
		t.Errorf("the slice of a loop is %v, want 1ms", got)
	}
	release()
	if got := slice(); got != before {
		t.Errorf("the slice is %v afterwards, was %v", got, before)
	}
}

// TestYield looks whether a thread that yields gives up a short slice, not the kernel's own, and
// comes back.
func TestYield(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := unix.SchedGetAttr(0, 0)
	if err != nil || before.Runtime == 0 {
		t.Skip("the kernel has no slices that a thread may choose (before Linux 6.12)")
	}
	defer setSlice(0)
	for range 100 * sliceEvery { // that it never sees to the slice would be 1 in 10^44
		Yield(time.Millisecond)
	}
	after, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := *before
	want.Runtime = uint64(time.Millisecond)
	if *after != want {
		t.Errorf("a thread that yields has %+v, want %+v", *after, want)
	}
}
