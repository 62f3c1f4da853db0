package stun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Server answers requests on one UDP socket. Make it with Listen, run Serve on a goroutine
// of its own; the other methods may be called from anywhere.
type Server struct {
	fd       uintptr
	addr     netip.AddrPort
	gather   time.Duration
	counters counters

	closed  chan struct{} // closed by Close; ends a pause
	mu      sync.Mutex    // for what follows
	closing bool
	serving chan struct{} // closed when Serve has ended; nil: it was not called

	// The system calls, replaced by tests.
	receive, send func(fd uintptr, m []message) (int, unix.Errno)
}

// Listen binds the socket. The unspecified address, 0.0.0.0 and :: and the zero Addr alike,
// means every address of both families, or of IPv4 on a host without IPv6; port 0 lets the
// kernel choose. gather is how long a request may wait for others while so many come that they
// share the cost; 0 is not at all. The error is one sentence with the address and the remedy.
func Listen(addr netip.AddrPort, gather time.Duration) (*Server, error) {
	local := net.UDPAddrFromAddrPort(addr)
	if !addr.Addr().IsValid() || addr.Addr().IsUnspecified() {
		local.IP, local.Zone = nil, ""
	}
	conn, err := net.ListenUDP("udp", local)
	if err != nil {
		return nil, bindError(addr, err)
	}
	defer conn.Close() // what is used is another descriptor, which Go's poller does not watch
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, bindError(addr, err)
	}
	fd := -1
	if e := raw.Control(func(of uintptr) {
		setOptions(of)
		fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0)
	}); e != nil || err != nil {
		return nil, bindError(addr, errors.Join(e, err))
	}
	return &Server{
		fd: uintptr(fd), gather: gather, closed: make(chan struct{}),
		addr:    conn.LocalAddr().(*net.UDPAddr).AddrPort(),
		receive: receiveMessages, send: sendMessages,
	}, nil
}

// setOptions asks for the address each request was sent to and for larger buffers. None
// of it is a condition for answering: an IPv4 socket refuses the IPv6 option, a sandbox may
// know neither (Stats.NoLocalAddr tells), and without CAP_NET_ADMIN the kernel's limit
// bounds the buffers.
func setOptions(fd uintptr) {
	s := int(fd)
	unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	if unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBufferBytes) != nil {
		unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBufferBytes)
	}
	if unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBufferBytes) != nil {
		unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_SNDBUF, socketBufferBytes)
	}
}

func bindError(addr netip.AddrPort, err error) error {
	where := addr.String()
	if !addr.Addr().IsValid() {
		where = fmt.Sprintf(":%d", addr.Port())
	}
	remedy := "choose another address or port, or turn STUN off"
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		remedy = "stop the program that has it (ss -lunp names it), or choose another port"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		remedy = "give an address that one of this host's interfaces has (ip addr lists them)"
	case errors.Is(err, unix.EACCES):
		remedy = "ports below 1024 need CAP_NET_BIND_SERVICE, so grant it or choose a higher port"
	}
	var call *net.OpError
	if errors.As(err, &call) {
		err = call.Err // without the address, which the sentence has already
	}
	return fmt.Errorf("stun: cannot listen on UDP %s: %w: %s", where, err, remedy)
}

// Addr is the address that is listened on, with the port that the kernel chose for 0.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Stats returns the counters so far.
func (s *Server) Stats() Stats { return s.counters.load() }

// Close ends Serve, waits until it has ended, and frees the port. Further calls do nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil
	}
	s.closing = true
	close(s.closed)
	serving := s.serving
	s.mu.Unlock()
	if serving != nil {
		// It wakes whoever polls the socket, though it says that there is no connection (ENOTCONN).
		_ = unix.Shutdown(int(s.fd), unix.SHUT_RD)
		<-serving
	}
	return unix.Close(int(s.fd))
}

// Serve answers requests until Close, and then returns nil. No failed read or write ends
// it: they are counted, and the next datagram gets its answer. It has a thread to itself.
// It may be called once.
func (s *Server) Serve() error {
	s.mu.Lock()
	if s.closing || s.serving != nil {
		defer s.mu.Unlock()
		if s.closing {
			return nil
		}
		return fmt.Errorf("stun: UDP %v is being served already", s.addr)
	}
	s.serving = make(chan struct{})
	defer close(s.serving)
	s.mu.Unlock()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t := newTurns(s)
	defer t.pace.Begin()()
	for !s.isClosed() {
		switch t.turn() {
		case wantsOthers:
			t.gather()
		case wantsRequest:
			t.wait(unix.POLLIN)
		case wantsRoom:
			t.wait(unix.POLLOUT)
		case wantsPause:
			s.pause()
		}
	}
	return nil
}

func (s *Server) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// pause waits for readErrorPause or Close.
func (s *Server) pause() {
	timer := time.NewTimer(readErrorPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.closed:
	}
}
