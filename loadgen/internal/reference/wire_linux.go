package reference

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// wire is a TCP connection, below TLS, that knows when the kernel received what was read last, and
// on which Write never blocks. Read belongs to one goroutine; Write may be called by several.
type wire struct {
	*net.TCPConn
	raw     syscall.RawConn
	arrived time.Time // of the last read; with a monotonic reading
	control [64]byte  // a time stamp takes 32

	mu      sync.Mutex
	pending []byte // that the kernel has not taken
	wake    chan struct{}
	failed  error
}

func newWire(c *net.TCPConn) (*wire, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &wire{TCPConn: c, raw: raw, wake: make(chan struct{}, 1)}
	var opt error
	err = raw.Control(func(fd uintptr) {
		opt = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	})
	if err == nil {
		err = opt
	}
	return w, err
}

// Read implements net.Conn.
func (w *wire) Read(b []byte) (n int, err error) {
	var controls int
	var failed error
	err = w.raw.Read(func(fd uintptr) bool {
		for {
			n, controls, _, _, failed = unix.Recvmsg(int(fd), b, w.control[:], unix.MSG_DONTWAIT)
			if failed != unix.EINTR {
				return failed != unix.EAGAIN
			}
		}
	})
	switch {
	case err != nil:
		return 0, err
	case failed != nil:
		return 0, failed
	case n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	// A read without a stamp is of now, and what follows it may have a stamp from before: packets
	// must keep their order all the same.
	if at := stamped(w.control[:controls], time.Now()); at.After(w.arrived) {
		w.arrived = at
	}
	return n, nil
}

// stamped returns the kernel's time of receipt from control messages, which is of its wall clock,
// as a time of the monotonic clock too; now if there is none that can be believed.
func stamped(controls []byte, now time.Time) time.Time {
	messages, err := unix.ParseSocketControlMessage(controls)
	if err != nil {
		return now
	}
	for _, m := range messages {
		if m.Header.Level != unix.SOL_SOCKET || m.Header.Type != unix.SO_TIMESTAMPNS ||
			len(m.Data) < 16 {
			continue
		}
		sec := int64(binary.NativeEndian.Uint64(m.Data))
		nsec := int64(binary.NativeEndian.Uint64(m.Data[8:]))
		age := now.Sub(time.Unix(sec, nsec)) // by the wall clock
		if age > 0 && age < stampAgeMax {
			return now.Add(-age)
		}
	}
	return now
}

// Write implements net.Conn: the kernel gets what it takes, the rest waits for flush. It takes all
// of b, however much that is: who writes looks at room before.
func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed != nil {
		return 0, w.failed
	}
	rest := b
	if len(w.pending) == 0 {
		var n int
		var failed error
		err := w.raw.Write(func(fd uintptr) bool {
			n, failed = unix.SendmsgN(int(fd), b, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			return true
		})
		if err == nil && failed != nil && failed != unix.EAGAIN && failed != unix.EINTR {
			err = failed
		}
		if err != nil {
			w.failed = err
			return 0, err
		}
		rest = b[max(n, 0):]
	}
	if len(rest) > 0 {
		w.pending = append(w.pending, rest...)
		select {
		case w.wake <- struct{}{}:
		default: // it is awake
		}
	}
	return len(b), nil
}

// full tells whether the receiver is too far behind to be given more.
func (w *wire) full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pending) > pendingBytesMax
}

// flush writes what waits, until ended is closed or the connection breaks.
func (w *wire) flush(ended <-chan struct{}) {
	for {
		select {
		case <-w.wake:
		case <-ended:
			return
		}
		for {
			w.mu.Lock()
			// What Write appends meanwhile stands behind, and pending is not empty, so that Write
			// does not overtake.
			chunk := w.pending
			w.mu.Unlock()
			if len(chunk) == 0 {
				break
			}
			n, err := w.TCPConn.Write(chunk)
			w.mu.Lock()
			w.pending = w.pending[n:]
			if len(w.pending) == 0 {
				w.pending = nil
			}
			if err != nil {
				w.failed = err
			}
			w.mu.Unlock()
			if err != nil {
				return
			}
		}
	}
}

// linger ends a connection so that the other side surely gets what was written: closing at once,
// with something of its unread, would be a reset that takes it away.
func (w *wire) linger() {
	if w.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, struct{ io.Reader }{w}) // until it closes or the deadline
	}
}
