package probe

import (
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// ErrUnavailable says that this machine does not offer what was asked for.
var ErrUnavailable = errors.New("not available here")

// unavailable makes such an error of what was tried and how it failed.
func unavailable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnavailable, fmt.Errorf(format, args...))
}

// CPU is the processor time of a process since its start, all its threads together. It is exact,
// where /proc counts in steps of 10 ms.
func CPU(pid int) (time.Duration, error) {
	// The clock of a process as the C library's clock_getcpuclockid makes it: the negated number,
	// then the kind, which is 2 for time on a processor.
	const kind = 2
	if pid <= 0 || pid > math.MaxInt32>>3 {
		return 0, fmt.Errorf("probe: %d is no process", pid)
	}
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|kind, &t); err != nil {
		return 0, fmt.Errorf("probe: processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
