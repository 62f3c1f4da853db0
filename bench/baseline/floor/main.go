package main

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"derpd/bench/baseline/front"
	"derpd/relay/derp"
)

const (
	// receiveBytes is what one read takes; the longest frame fits in front of it.
	receiveBytes = 256 << 10
	// blockedBytesMax is what waits for a client that does not read.
	blockedBytesMax = 256 << 10
	// eventsMax is how many ready connections one wait tells of.
	eventsMax = 256
	backlog   = 4096
)

func main() {
	front.Main(front.Program{Name: "floor", NoTLS: "it forwards bytes as they are", Serve: serve})
}

// floor is the forwarder; its one thread owns all of it.
type floor struct {
	cfg     *front.Config
	counts  front.Counters
	poll    int // descriptors
	listen  int
	conns   []*conn // by descriptor
	clients map[derp.Key]*conn
	buf     []byte // of receiveBytes behind the longest frame
}

// conn is one connection.
type conn struct {
	fd    int
	login front.Login
	in    bool // logged in, as key
	key   derp.Key
	last  *conn // to whom it sent last
	gone  bool

	part    []byte // the beginning of a frame
	blocked []byte // what the socket did not take
}

func serve(cfg *front.Config) error {
	f := &floor{cfg: cfg, clients: make(map[derp.Key]*conn),
		buf: make([]byte, derp.HeaderLen+derp.MaxClientInfo+receiveBytes)}
	if err := f.open(); err != nil {
		return err
	}
	events := make([]unix.EpollEvent, eventsMax)
	for {
		n, err := unix.EpollWait(f.poll, events, -1)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		for i := range max(n, 0) {
			if err := f.event(&events[i]); err != nil {
				return err
			}
		}
	}
}

// open makes the listener and the poll.
func (f *floor) open() error {
	a, err := net.ResolveTCPAddr("tcp4", f.cfg.Addr)
	if err != nil {
		return fmt.Errorf("-a %s: %w", f.cfg.Addr, err)
	}
	ip, ok := netip.AddrFromSlice(a.IP.To4())
	if !ok {
		ip = netip.IPv4Unspecified()
	}
	f.listen, err = unix.Socket(unix.AF_INET,
		unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if err := unix.SetsockoptInt(f.listen, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("SO_REUSEADDR: %w", err)
	}
	if err := unix.Bind(f.listen, &unix.SockaddrInet4{Port: a.Port, Addr: ip.As4()}); err != nil {
		return fmt.Errorf("-a %s: bind: %w", f.cfg.Addr, err)
	}
	if err := unix.Listen(f.listen, backlog); err != nil {
		return fmt.Errorf("-a %s: listen: %w", f.cfg.Addr, err)
	}
	if f.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll_create: %w", err)
	}
	return f.watch(f.listen, unix.EPOLL_CTL_ADD, unix.EPOLLIN)
}

func (f *floor) watch(fd, op int, events uint32) error {
	err := unix.EpollCtl(f.poll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
	if err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// event does what one ready descriptor asks for. An event may be of a connection that has ended in
// this turn, and its number may have a new owner: to that it is a read that finds nothing.
func (f *floor) event(e *unix.EpollEvent) error {
	fd := int(e.Fd)
	if fd == f.listen {
		return f.accept()
	}
	c := f.conns[fd]
	if c != nil && e.Events&unix.EPOLLOUT != 0 {
		f.unblock(c)
	}
	if c != nil && !c.gone && e.Events&^unix.EPOLLOUT != 0 {
		f.readable(c)
	}
	return nil
}

// accept takes all new connections.
func (f *floor) accept() error {
	for {
		fd, _, err := unix.Accept4(f.listen, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
		case unix.EAGAIN:
			return nil
		case unix.ECONNABORTED, unix.EINTR:
			continue
		default:
			return fmt.Errorf("accept with %d clients: %w", f.counts.Clients.Load(), err)
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return fmt.Errorf("TCP_NODELAY: %w", err)
		}
		for fd >= len(f.conns) {
			f.conns = append(f.conns, nil)
		}
		f.conns[fd] = &conn{fd: fd}
		if err := f.watch(fd, unix.EPOLL_CTL_ADD, unix.EPOLLIN); err != nil {
			return err
		}
	}
}

// close forgets a connection; the poll forgets it by itself.
func (f *floor) close(c *conn) {
	if c.gone {
		return
	}
	c.gone = true
	f.conns[c.fd] = nil
	if c.in {
		f.counts.Clients.Add(-1)
		if f.clients[c.key] == c {
			delete(f.clients, c.key)
		}
	}
	_ = unix.Close(c.fd) // nothing of it is wanted any more
}
