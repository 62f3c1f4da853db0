package stun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Server answers requests on one UDP socket. Make it with Listen, run Serve on a goroutine
// of its own; the other methods may be called from anywhere.
type Server struct {
	conn     *net.UDPConn
	raw      syscall.RawConn
	addr     netip.AddrPort
	closed   chan struct{} // closed by Close; wakes a pause
	close    sync.Once
	counters counters

	// The system calls, replaced by tests.
	receive, send func(fd uintptr, m []message) (int, unix.Errno)
}

// Listen binds the socket. The unspecified address, 0.0.0.0 and :: and the zero Addr alike,
// means every address of both families, or of IPv4 on a host without IPv6; port 0 lets the
// kernel choose. The error is one sentence with the address and the remedy.
func Listen(addr netip.AddrPort) (*Server, error) {
	local := net.UDPAddrFromAddrPort(addr)
	if !addr.Addr().IsValid() || addr.Addr().IsUnspecified() {
		local.IP, local.Zone = nil, ""
	}
	conn, err := net.ListenUDP("udp", local)
	if err != nil {
		return nil, bindError(addr, err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, bindError(addr, err)
	}
	if err := raw.Control(setOptions); err != nil {
		conn.Close()
		return nil, bindError(addr, err)
	}
	return &Server{
		conn: conn, raw: raw, closed: make(chan struct{}),
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

// Close ends Serve and frees the port. Further calls do nothing.
func (s *Server) Close() error {
	var err error
	s.close.Do(func() {
		close(s.closed)
		err = s.conn.Close()
	})
	return err
}

// Serve answers requests until Close, and then returns nil. No failed read or write ends
// it: they are counted, and the next datagram gets its answer.
func (s *Server) Serve() error {
	t := newTurns(s)
	for {
		err := s.raw.Read(t.run)
		if err == nil && t.sent < t.answers {
			err = s.raw.Write(t.send)
			t.finish()
		}
		switch {
		case err != nil:
			return s.ended(err)
		case t.failures > readErrorsInRow:
			s.pause()
		}
	}
}

// ended translates what the runtime's poller says.
func (s *Server) ended(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("stun: waiting on UDP %v: %w", s.addr, err)
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

// turns is what Serve does, turn by turn: a batch is taken, its answers sent. run and send
// are what the poller calls when the socket is ready, made once so that a turn allocates
// nothing.
type turns struct {
	server    *Server
	batch     *batch
	run, send func(fd uintptr) bool

	failures int   // reads that failed in a row
	requests int   // taken in this turn
	answers  int   // to be sent
	sent     int   // of them, those done with, sent or not
	stats    Stats // what this turn has counted
}

func newTurns(s *Server) *turns {
	t := &turns{server: s, batch: newBatch()}
	t.run, t.send = t.runReady, t.sendReady
	return t
}

// runReady takes turns while there are requests; false makes the poller wait for the next
// one. True leaves to Serve what the poller must not be kept from by: answers for which
// the socket's buffer has no room, and reads that keep failing.
//
// A batch that is not full has emptied the socket, which is not asked again whether it has:
// a datagram that comes meanwhile makes it ready, and the poller, which sees edges and does
// not forget one that comes while nobody waits, calls again.
func (t *turns) runReady(fd uintptr) (leave bool) {
	for {
		n, errno := t.server.receive(fd, t.batch.in[:])
		switch errno {
		case 0:
		case unix.EAGAIN:
			return false
		case unix.EINTR:
			continue
		default:
			t.server.counters.readErrors.Add(1)
			if t.failures++; t.failures > readErrorsInRow {
				return true
			}
			continue
		}
		t.failures = 0
		t.requests = n
		t.answers, t.sent = t.batch.answer(n, &t.stats), 0
		if !t.sendReady(fd) {
			return true
		}
		t.finish()
		if n < batchMessages {
			return false
		}
	}
}

// finish counts a turn and makes its buffers ready for the next.
func (t *turns) finish() {
	t.server.counters.add(&t.stats)
	t.stats = Stats{}
	t.batch.rearm(t.requests)
	t.answers, t.sent = 0, 0
}

// sendReady sends what is left of the answers; false makes the poller wait for room in the
// socket's buffer. An answer that the kernel refuses is counted and passed over.
func (t *turns) sendReady(fd uintptr) bool {
	for t.sent < t.answers {
		n, errno := t.server.send(fd, t.batch.out[t.sent:t.answers])
		switch {
		case errno == 0 && n > 0:
			t.sent += n
			t.stats.Successes += uint64(n)
		case errno == unix.EAGAIN:
			return false
		case errno == unix.EINTR:
		default:
			t.sent++
			t.stats.WriteErrors++
		}
	}
	return true
}
