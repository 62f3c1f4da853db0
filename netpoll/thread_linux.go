package netpoll

import (
	"math/rand/v2"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// sliceEvery is in how many yields a thread's slice is seen to once.
const sliceEvery = 16

// ownThread locks the calling goroutine to its thread and has the kernel's scheduler treat it as a
// loop's, until release is called. A loop works for microseconds and sleeps. With the short slice
// that it asks for (sched_setattr(2), Linux 6.12) it may interrupt threads that compute, which
// handshakes do for as long as ten packets take. Where the kernel does not know it nothing changes.
func ownThread(slice time.Duration) (release func()) {
	runtime.LockOSThread()
	setSlice(slice)
	return func() {
		setSlice(0) // the kernel's own
		runtime.UnlockOSThread()
	}
}

// Yield lets threads that wait for this processor go first: loops above all, which would otherwise
// wait for the kernel's next tick (4 ms at 250 Hz) if they have just had their share. It is for
// goroutines that compute for long, after each piece. What a thread gives up is the rest of its
// slice, which the kernel counts as used (Linux 6.18, yield_task_fair), so it gets this one:
// with one of about a piece's length it has its share beside others that compute; with a longer one
// loops may interrupt pieces more often.
func Yield(slice time.Duration) {
	// A goroutine does not know its thread, and to ask each time takes as long as to yield. A thread
	// that computes comes here often.
	if rand.Uint32N(sliceEvery) == 0 {
		setSlice(slice)
	}
	_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // cannot fail (sched_yield(2))
}

// setSlice asks for a slice for the calling thread. Where the kernel has none that a thread may
// choose it stays as it was.
func setSlice(d time.Duration) {
	attr, err := unix.SchedGetAttr(0, 0)
	if err == nil && attr.Policy == unix.SCHED_NORMAL && attr.Runtime != uint64(d) {
		attr.Runtime = uint64(d)
		_ = unix.SchedSetAttr(0, attr, 0)
	}
}
