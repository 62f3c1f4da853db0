package host

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// OnCPU runs start on a thread bound to one processor (any, if cpu is negative). A process
// started there inherits the binding and its runtime sizes itself for it, as under taskset.
//
// The thread must outlive the child, whose death signal is tied to it. It does: the Go
// runtime only ends a thread when a goroutine exits locked to it, and none does here.
func OnCPU(cpu int, start func() error) error {
	if cpu < 0 {
		return start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var old, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		return fmt.Errorf("host: read processor affinity: %w", err)
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("host: bind the relay to processor %d: %w", cpu, err)
	}
	err := start()
	if back := unix.SchedSetaffinity(0, &old); err == nil && back != nil {
		err = fmt.Errorf("host: restore processor affinity: %w", back)
	}
	return err
}

// AvoidCPU binds every thread of this process to all processors it may use but one (all, if cpu is
// negative), and returns the function that undoes it.
func AvoidCPU(cpu int) (undo func(), err error) {
	if cpu < 0 {
		return func() {}, nil
	}
	var old unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		return nil, fmt.Errorf("host: read processor affinity: %w", err)
	}
	rest := old
	rest.Clear(cpu)
	if !old.IsSet(cpu) || rest.Count() == 0 {
		return nil, fmt.Errorf("host: processor %d cannot be the relay's alone: it and another one "+
			"must be usable, and this process may use %d; name another one, or -1 for any", cpu,
			old.Count())
	}
	if err := bindThreads(&rest); err != nil {
		return nil, err
	}
	return func() { _ = bindThreads(&old) }, nil // a thread that is left stays where it was
}

// bindThreads goes over the threads twice: one that started during the first pass inherited
// from a thread that may not have been bound yet.
func bindThreads(set *unix.CPUSet) error {
	for range 2 {
		tids, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range tids {
			tid, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			if err := unix.SchedSetaffinity(tid, set); err != nil && err != unix.ESRCH {
				return fmt.Errorf("host: bind thread %d: %w", tid, err)
			}
		}
	}
	return nil
}

// processors counts those that a process may run on.
func processors(pid int) (int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &set); err != nil {
		return 0, fmt.Errorf("host: processors of process %d: %w", pid, err)
	}
	return set.Count(), nil
}
