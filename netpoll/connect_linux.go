package netpoll

import (
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Connect implements Loop.
func (l *Epoll) Connect(local, remote netip.AddrPort) (Handle, error) {
	if l.stop.Load() {
		return 0, ErrStopped
	}
	to, family, err := sockaddrOf(remote)
	if err != nil {
		return 0, err
	}
	fd, err := newStream(local, family, unix.SOCK_NONBLOCK, l.userTimeout, l.keepAlive)
	if err != nil {
		return 0, err
	}
	// Before it is put into epoll, which would report the unconnected socket as hung up.
	begun := unix.Connect(fd, to)
	if begun == unix.EINPROGRESS || begun == unix.EINTR {
		begun = nil
	}
	h, c, err := l.take(int32(fd), connecting, unix.EPOLLOUT)
	if err != nil {
		unix.Close(fd)
		return 0, err
	}
	if begun != nil {
		l.end(int32(h.Slot()), c, why(begun.(unix.Errno)))
	}
	return h, nil
}

// newStream makes a socket that is to be connected from local.
func newStream(local netip.AddrPort, family, flags int, userTimeout, keepAlive time.Duration) (
	int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|flags, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := setStreamOptions(fd, userTimeout, keepAlive); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("setsockopt", err)
	}
	if err := bindSource(fd, family, local); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bindSource chooses the local address of a socket to be connected.
func bindSource(fd, family int, local netip.AddrPort) error {
	if !local.IsValid() || local.Addr().IsUnspecified() && local.Port() == 0 {
		return nil
	}
	from, itsFamily, err := sockaddrOf(local)
	if err != nil {
		return err
	}
	if itsFamily != family {
		return fmt.Errorf("netpoll: cannot connect from %v: the remote address is of the other "+
			"IP version", local)
	}
	if local.Port() == 0 {
		// The port is chosen by connect, which knows the remote address, so that one port
		// can serve several; bind would need a port of its own for each connection, and does
		// where the option is not there (before Linux 4.2; gVisor; qemu-user).
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if err != nil && err != unix.ENOPROTOOPT {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(fd, from); err != nil {
		return fmt.Errorf("netpoll: cannot connect from %v: %w", local, err)
	}
	return nil
}

// connected tells how a Connect went: epoll has reported the socket as writable or broken.
func (l *Epoll) connected(slot int32, c *conn) {
	if errno := socketError(c.fd); errno != 0 {
		l.end(slot, c, why(errno))
		return
	}
	c.state = open
	if c.send != 0 {
		l.startWriteTimer(slot, c)
	}
	l.watch(slot, c, c.wants())
	if c.state == open {
		l.handler.Connected(MakeHandle(l.id, int(slot), c.generation), nil)
	}
}
