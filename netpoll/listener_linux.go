package netpoll

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Listener is one listening socket. It belongs to the loop whose Config names it, which
// closes it when it stops; before that, to whoever called Listen.
type Listener struct {
	fd     int32
	addr   netip.AddrPort
	detach func() // makes the loop let go of it; nil: no loop has it
}

// ListenOptions are inherited by the accepted connections.
type ListenOptions struct {
	// UserTimeout is how long sent data may stay unacknowledged (TCP_USER_TIMEOUT,
	// RFC 5482); 0 leaves it to the system.
	UserTimeout time.Duration
	// KeepAlive is the idle time after which TCP probes the peer (TCP_KEEPIDLE), and again every
	// 15 s; 0 leaves probing off.
	KeepAlive time.Duration
}

// Listen opens n sockets that share one address, one for each loop; the kernel spreads the
// connections over them (SO_REUSEPORT). Port 0 takes a free one. An unspecified IPv6
// address takes IPv4 too, and falls back to IPv4 alone where the kernel has no IPv6.
//
// An address that is in use is an error, even by a server that shares its port likewise.
func Listen(addr netip.AddrPort, n int, opt ListenOptions) ([]*Listener, error) {
	if n < 1 || n > loopsMax {
		return nil, fmt.Errorf("netpoll: %d listeners wanted: ask for 1 to %d", n, loopsMax)
	}
	first, err := listenFirst(addr, opt)
	if err == unix.EAFNOSUPPORT && addr.Addr() == netip.IPv6Unspecified() {
		addr = netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
		first, err = listenFirst(addr, opt)
	}
	if err != nil {
		return nil, listenError(addr, err)
	}
	all := []*Listener{first}
	for len(all) < n {
		next, err := listenNext(first.addr, opt)
		if err != nil {
			for _, l := range all {
				l.Close()
			}
			return nil, listenError(addr, err)
		}
		all = append(all, next)
	}
	return all, nil
}

// listenFirst opens the socket that claims the address.
func listenFirst(addr netip.AddrPort, opt ListenOptions) (*Listener, error) {
	fd, err := bound(addr, opt, false)
	if err != nil {
		return nil, err
	}
	if err := claim(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return newListener(fd)
}

// claim makes the address this process's own, and then lets its own sockets share it. In
// this order: of two processes that bind at the same moment both succeed (SO_REUSEADDR),
// and had both the option to share before they listen, both would listen.
func claim(fd int) error {
	if err := unix.Listen(fd, backlog()); err != nil {
		return err
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

// listenNext joins the first.
func listenNext(addr netip.AddrPort, opt ListenOptions) (*Listener, error) {
	fd, err := bound(addr, opt, true)
	if err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, backlog()); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return newListener(fd)
}

func newListener(fd int) (*Listener, error) {
	addr, err := localAddrOf(int32(fd))
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &Listener{fd: int32(fd), addr: addr}, nil
}

// bound makes a socket with the options of a listener and binds it.
func bound(addr netip.AddrPort, opt ListenOptions, share bool) (int, error) {
	sa, family, err := sockaddrOf(addr)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	// Without SO_REUSEADDR a restart would have to wait for the TIME_WAIT of old connections.
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil && share {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if err == nil && family == unix.AF_INET6 {
		only := 1
		if addr.Addr().IsUnspecified() {
			only = 0
		}
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
	}
	if err == nil {
		err = setStreamOptions(fd, opt.UserTimeout, opt.KeepAlive)
	}
	if err == nil {
		err = unix.Bind(fd, sa)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// setStreamOptions sets what every connection has, on itself or on its listener.
func setStreamOptions(fd int, userTimeout, keepAlive time.Duration) error {
	err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytesMax)
	}
	if err == nil && userTimeout > 0 {
		ms := int((userTimeout + time.Millisecond - 1) / time.Millisecond)
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, ms)
	}
	if err == nil && keepAlive > 0 {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		if err == nil {
			s := int((keepAlive + time.Second - 1) / time.Second)
			err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, s)
		}
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL,
				int(probeEvery/time.Second))
		}
	}
	return err
}

// backlog is the longest queue of connections not yet accepted that the system allows; a
// larger one would silently be cut to it.
func backlog() int {
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && n > 0 {
			return n
		}
	}
	return unix.SOMAXCONN
}

// listenError says what to do about it.
func listenError(addr netip.AddrPort, err error) error {
	remedy := ""
	switch err {
	case unix.EADDRINUSE:
		remedy = ": stop the server that has the port (ss -ltnp shows it) or choose another port"
	case unix.EACCES, unix.EPERM:
		remedy = ": ports below 1024 need CAP_NET_BIND_SERVICE (setcap, or AmbientCapabilities= " +
			"in the systemd unit), or choose a higher port"
	case unix.EADDRNOTAVAIL:
		remedy = ": no interface of this machine has that address; use one that ip addr " +
			"shows, or an unspecified one (0.0.0.0, ::)"
	case unix.EAFNOSUPPORT:
		remedy = ": the kernel has no IPv6; use an IPv4 address"
	case unix.EMFILE, unix.ENFILE:
		remedy = ": raise the limit of open files (ulimit -n, LimitNOFILE=)"
	}
	return fmt.Errorf("netpoll: cannot listen on %v: %w%s", addr, err, remedy)
}

// Addr is the address it is bound to, with the port that was chosen if 0 was asked for.
func (l *Listener) Addr() netip.AddrPort { return l.addr }

// FD is the listening descriptor, for handing it to another process; -1 once closed. It
// remains the Listener's.
func (l *Listener) FD() int { return int(l.fd) }

// Close stops listening; connections not yet accepted are reset. On a loop's listener it
// may be called by that loop only (Post). Closing twice is no error.
func (l *Listener) Close() error {
	if l.fd < 0 {
		return nil
	}
	if l.detach != nil {
		l.detach()
	}
	err := unix.Close(int(l.fd))
	l.fd = -1
	return err
}
