package main

import (
	"context"
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"derpd/netpoll"
)

// othersNice is how much nicer to loops all other threads are: they get a quarter of a processor on
// which a loop has more than enough to do. Between equals a loop that has just worked must wait for
// a handshake's whole time slice, or the kernel's next tick: with one processor, a tenth of all
// packets would wait a millisecond and more in a storm of logins.
const othersNice = 5

// loopsFirst lets the threads of loops go before all others of this process, those to come too: a
// thread inherits its priority from the one that starts it, and Go lets none be started by one
// that a goroutine has to itself, as loops have. It returns nil if a loop or ctx ends before it
// could.
func loopsFirst(ctx context.Context, loops []netpoll.Runner) error {
	threads := make(chan int, len(loops))
	own := map[int]bool{}
	for _, l := range loops {
		if !l.Post(func() { threads <- unix.Gettid() }) {
			return nil
		}
	}
	nice := 0 // of the loops, which is what the program was started with
	for range loops {
		select {
		case tid := <-threads:
			own[tid] = true
			n, err := niceOf(tid)
			if err != nil {
				return err
			}
			nice = n
		case <-ctx.Done():
			return nil
		}
	}
	for {
		found, err := lower(own, min(nice+othersNice, 19))
		if err != nil || !found {
			return err
		}
	}
}

// lower makes all threads but some at least so nice. found: there was one that was not, which may
// have started another meanwhile.
func lower(but map[int]bool, nice int) (found bool, err error) {
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		tid, err := strconv.Atoi(e.Name())
		if err != nil || but[tid] {
			continue
		}
		n, err := niceOf(tid)
		if err == nil && n < nice {
			found = true
			err = unix.Setpriority(unix.PRIO_PROCESS, tid, nice)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // which has ended
			return false, err
		}
	}
	return found, nil
}

// niceOf is how nice a thread is, -20 to 19.
func niceOf(tid int) (int, error) {
	n, err := unix.Getpriority(unix.PRIO_PROCESS, tid)
	return 20 - n, err // the system call has no negative results (getpriority(2))
}
