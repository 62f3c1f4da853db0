package netpoll

import (
	"math"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of the data path never block, so they go past the scheduler's bookkeeping
// (RawSyscall); what may block goes through unix.*, which lets the runtime lend the
// processor to another goroutine meanwhile.

// receive takes what has arrived, up to len(b) > 0 bytes.
func receive(fd int32, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// send gives the kernel what it takes of len(b) > 0 bytes.
func send(fd int32, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// accept takes a connection from a non-blocking listener.
func accept(fd int32, from *unix.RawSockaddrAny) (int32, unix.Errno) {
	size := uint32(unix.SizeofSockaddrAny)
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd),
		uintptr(unsafe.Pointer(from)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int32(n), errno
}

// control adds, modifies or removes what epoll watches a descriptor for. slot and
// generation come back with each event.
func control(epoll int, op int, fd int32, events uint32, slot int32, gen uint32) unix.Errno {
	event := unix.EpollEvent{Events: events, Fd: slot, Pad: int32(gen)}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epoll), uintptr(op),
		uintptr(fd), uintptr(unsafe.Pointer(&event)), 0, 0)
	return errno
}

// poll returns the number of events that are there now.
func poll(epoll int, events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0 // EINTR: the next poll sees them
	}
	return int(n)
}

// noNanoseconds is set when epoll_pwait2 turned out not to be there, or to be forbidden.
var noNanoseconds atomic.Bool

// pollFor waits for events: for ever if timeout is negative, else for that long at most. It may
// return none earlier (a signal): the caller looks again. A brief wait keeps the processor of Go's
// scheduler, as the calls that never block do.
func pollFor(epoll int, events []unix.EpollEvent, timeout time.Duration, brief bool) int {
	// epoll_pwait2 (Linux 5.11) has nanoseconds; before it there are milliseconds, rounded up
	// because waking before the time would find nothing due.
	if !noNanoseconds.Load() {
		var wait *unix.Timespec
		if timeout >= 0 {
			t := unix.NsecToTimespec(int64(timeout))
			wait = &t
		}
		var n uintptr
		var errno unix.Errno
		if brief {
			n, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epoll),
				uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)),
				uintptr(unsafe.Pointer(wait)), 0, 0)
		} else {
			n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epoll),
				uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)),
				uintptr(unsafe.Pointer(wait)), 0, 0)
		}
		switch errno {
		case 0:
			return int(n)
		case unix.ENOSYS, unix.EPERM:
			noNanoseconds.Store(true)
		default:
			return 0
		}
	}
	ms := min((timeout+time.Millisecond-1)/time.Millisecond, math.MaxInt32)
	if timeout < 0 {
		ms = -1
	}
	n, err := unix.EpollWait(epoll, events, int(ms))
	if err != nil {
		return 0
	}
	return n
}

// eventOne is what is written to an eventfd, in the byte order of the machine.
var eventOne uint64 = 1

// signal wakes whoever polls the eventfd.
func signal(fd int) {
	// EAGAIN (a counter at 2^64-2) leaves the descriptor readable, which is all that counts.
	unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&eventOne)), 8)
}

// socketError takes the pending error of a socket.
func socketError(fd int32) unix.Errno {
	value, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err.(unix.Errno)
	}
	return unix.Errno(value)
}

// keepReceiveBuffer has the kernel leave the receive buffer of a socket at its size, or not any
// more (SO_BUF_LOCK, Linux 5.15; before it the buffer grows).
func keepReceiveBuffer(fd int32, keep bool) {
	value := 0
	if keep {
		value = sockReceiveBufferLock
	}
	_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BUF_LOCK, value)
}

// unacknowledged returns how many bytes of a TCP connection the peer's kernel has not taken
// (SIOCOUTQ, tcp(7)).
func unacknowledged(fd int32) int {
	var n int32
	// It cannot fail on a connected socket; 0 would mean no progress.
	unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCOUTQ, uintptr(unsafe.Pointer(&n)))
	return int(n)
}

// roundTrip returns the smoothed round trip time of a TCP connection (TCP_INFO, tcp(7)); false
// while the kernel has measured none.
func roundTrip(fd int32) (time.Duration, bool) {
	var info unix.TCPInfo
	size := uint32(unix.SizeofTCPInfo)
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP,
		unix.TCP_INFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || info.Rtt == 0 {
		return 0, false
	}
	return time.Duration(info.Rtt) * time.Microsecond, true
}
