package bench

import (
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// wire is what lies under TLS: an ordinary connection while a client logs in, and after
// detach a bare descriptor that never blocks, for a loop that never sleeps.
type wire struct {
	net.Conn
	fd      int    // negative until detach
	in      []byte // received and not yet taken by TLS
	room    []byte // what in is a part of
	pending []byte // written by TLS and not yet taken by the kernel
}

// errNothing says that Read must wait for the next event. To crypto/tls it is a timeout,
// after which a connection may go on reading.
type errNothing struct{}

func (errNothing) Error() string   { return "nothing to read yet" }
func (errNothing) Timeout() bool   { return true }
func (errNothing) Temporary() bool { return true }

// detach takes the descriptor away from the Go runtime's poller.
func (w *wire) detach() error {
	f, err := w.Conn.(*net.TCPConn).File()
	if err != nil {
		return err
	}
	defer f.Close() // also the runtime's
	if w.fd, err = unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return err
	}
	// File.Fd may have made the descriptor blocking.
	if err := unix.SetNonblock(w.fd, true); err != nil {
		return err
	}
	w.room = make([]byte, wireBytes)
	return w.Conn.Close()
}

// Close may be called once after detach, when no loop runs.
func (w *wire) Close() error {
	if w.fd < 0 {
		return w.Conn.Close()
	}
	return unix.Close(w.fd)
}

// fill receives once. Read then gives what came, and errNothing behind it.
func (w *wire) fill() error {
	n, err := unix.Read(w.fd, w.room)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return nil
	case err != nil:
		return err
	case n == 0:
		return io.ErrUnexpectedEOF
	}
	w.in = w.room[:n]
	return nil
}

func (w *wire) Read(b []byte) (int, error) {
	if w.fd < 0 {
		return w.Conn.Read(b)
	}
	if len(w.in) == 0 {
		return 0, errNothing{}
	}
	n := copy(b, w.in)
	w.in = w.in[n:]
	return n, nil
}

// Write takes all of b, because TLS cannot go on after a short write. What the kernel does
// not take is pending; the caller must not write again before flush has got rid of it.
func (w *wire) Write(b []byte) (int, error) {
	if w.fd < 0 {
		return w.Conn.Write(b)
	}
	w.pending = append(w.pending, b...)
	_, err := w.flush()
	return len(b), err
}

// flush returns whether nothing is pending any more.
func (w *wire) flush() (bool, error) {
	for len(w.pending) > 0 {
		n, err := unix.Write(w.fd, w.pending)
		if err == unix.EAGAIN || err == unix.EINTR {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		// At most one write is pending, so what moves down is little.
		w.pending = w.pending[:copy(w.pending, w.pending[n:])]
	}
	return true, nil
}
