package stunload

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Generator asks one server from a set of sockets. It belongs to one goroutine at a time.
type Generator struct {
	target  netip.AddrPort
	sockets []socket
	epoll   int
	seed    uint64
	next    uint64 // number of the next request, over all runs
	grace   time.Duration

	out, in *batch
	events  [eventsMax]unix.EpollEvent
	wait    [1]unix.PollFd
}

// socket is a UDP socket that is connected to the target: the kernel drops what others send to it,
// and tells of a port that nobody listens on.
type socket struct {
	fd    int
	local netip.AddrPort // what the server has to tell

	queue  []int64 // when the requests were due that the kernel has not taken yet
	held   bool    // it would not take the first of them
	heldTo int64   // requests due before this were held back by it: their lag is not ours
}

// New opens that many sockets, each with a port of its own, their addresses taken from sources in
// turn; without sources the kernel chooses. seed marks the requests and draws their schedules.
func New(target netip.AddrPort, sources []netip.Addr, sockets int, seed uint64) (
	*Generator, error) {
	if err := checkAddrs(target, sources, sockets); err != nil {
		return nil, err
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("stun load: epoll: %w", openError(err))
	}
	g := &Generator{target: target, epoll: epoll, seed: seed, grace: graceSpan, out: newBatch(),
		in: newBatch()}
	g.wait[0] = unix.PollFd{Fd: int32(epoll), Events: unix.POLLIN}
	for i := range sockets {
		var source netip.Addr
		if len(sources) > 0 {
			source = sources[i%len(sources)]
		}
		if err := g.open(source); err != nil {
			g.Close()
			return nil, fmt.Errorf("stun load: socket %d of %d to %v: %w", i+1, sockets, target,
				openError(err))
		}
	}
	return g, nil
}

func checkAddrs(target netip.AddrPort, sources []netip.Addr, sockets int) error {
	if !target.IsValid() || target.Port() == 0 || target.Addr().IsUnspecified() {
		return fmt.Errorf("stun load: target is %v: give the address and port of a server", target)
	}
	if zone := target.Addr().Zone(); zone != "" {
		return fmt.Errorf("stun load: target %v has a zone, %q: give an address without", target,
			zone)
	}
	if sockets < 1 || sockets > socketsMax {
		return fmt.Errorf("stun load: %d sockets: give 1 to %d", sockets, socketsMax)
	}
	for _, source := range sources {
		if !source.IsValid() || source.Unmap().Is4() != target.Addr().Unmap().Is4() {
			return fmt.Errorf("stun load: no way from source %v to target %v: "+
				"give sources of the target's family", source, target)
		}
	}
	return nil
}

// openError adds the remedy to what the kernel says of a new socket.
func openError(err error) error {
	switch {
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return fmt.Errorf("%w: raise the limit (ulimit -n), or ask for fewer sockets", err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("%w: give sources that this machine has", err)
	case errors.Is(err, unix.EADDRINUSE), errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("%w: no port is free: give more sources, or fewer sockets", err)
	}
	return err
}

// open adds a socket.
func (g *Generator) open(source netip.Addr) error {
	family := unix.AF_INET6
	if g.target.Addr().Unmap().Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	local, err := g.connect(fd, source)
	if err != nil {
		unix.Close(fd)
		return err
	}
	g.sockets = append(g.sockets, socket{fd: fd, local: local})
	return nil
}

// connect binds and connects a socket, lets epoll watch it, and returns its address.
func (g *Generator) connect(fd int, source netip.Addr) (local netip.AddrPort, err error) {
	// The kernel's limit bounds the buffers, but for the privileged; smaller ones do as well.
	for _, option := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF},
		{unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, option[0], socketBufferBytes) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option[1], socketBufferBytes)
		}
	}
	if source.IsValid() {
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(source, 0))); err != nil {
			return local, fmt.Errorf("bind %v: %w", source, err)
		}
	}
	if err := unix.Connect(fd, sockaddr(g.target)); err != nil {
		return local, err
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(len(g.sockets))}
	if err := unix.EpollCtl(g.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return local, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return local, err
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(name.Addr), uint16(name.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(name.Addr), uint16(name.Port)), nil
	}
	return local, fmt.Errorf("socket name of type %T", name)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if ip := a.Addr().Unmap(); ip.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// Close closes the sockets.
func (g *Generator) Close() error {
	var errs []error
	for i := range g.sockets {
		errs = append(errs, unix.Close(g.sockets[i].fd))
	}
	if g.epoll >= 0 {
		errs = append(errs, unix.Close(g.epoll))
	}
	g.sockets, g.epoll = nil, -1
	return errors.Join(errs...)
}
