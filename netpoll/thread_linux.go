package netpoll

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// ownThread locks the calling goroutine to its thread and has the kernel's scheduler treat it as a
// loop's, until release is called. A loop works for microseconds and sleeps. With the short slice
// that it asks for (sched_setattr(2), Linux 6.12) it may interrupt threads that compute, which
// handshakes do for as long as ten packets take. Where the kernel does not know it nothing changes.
func ownThread() (release func()) {
	runtime.LockOSThread()
	slice := func(d time.Duration) {
		attr, err := unix.SchedGetAttr(0, 0)
		if err == nil && attr.Policy == unix.SCHED_NORMAL {
			attr.Runtime = uint64(d)
			_ = unix.SchedSetAttr(0, attr, 0) // or it stays as it was
		}
	}
	slice(threadSlice)
	return func() {
		slice(0) // the kernel's own
		runtime.UnlockOSThread()
	}
}

// threadSlice is how long a loop computes before others may have its processor: the least that the
// kernel grants.
const threadSlice = 100 * time.Microsecond
