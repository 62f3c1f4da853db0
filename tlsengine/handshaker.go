package tlsengine

import (
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"net"
	"runtime/debug"
)

// handshaker runs crypto/tls as a coroutine. It is used again for the next handshake; what points
// to it from outside (Handshake, wire) is made anew each time, so that a late call meets nil.
//
// The way of the bytes: Step appends to in; ready says when the coroutine has something to do; its
// Read (wire.go) takes from in, one record and no more; its Write appends to out.
type handshaker struct {
	cfg      *tls.Config // KeyLogWriter is &log
	log      keyLog
	client   bool
	inputMax int // bytes Read may return in one handshake

	conn  *tls.Conn
	wire  *wire
	next  func() (struct{}, bool) // runs the coroutine until it yields or ends
	stop  func()                  // makes a pending yield return false, and runs it to its end
	yield func(struct{}) bool     // called by the coroutine: wait for more input

	in    []byte      // fed; in[off:] was not read by the coroutine
	off   int         //
	left  int         // bytes of the record being read that Read has not returned
	taken int         // bytes Read has returned
	out   []byte      // written by the coroutine in this step
	hello helloRandom // the server's, for the keys of TLS 1.2

	started bool
	stopped bool  // the coroutine shall end
	ended   bool  // the coroutine has ended …
	err     error // … with this
}

var (
	errStopped = errors.New("tlsengine: handshake stopped")
	errGoexit  = errors.New("tlsengine: a callback ended the handshake by runtime.Goexit")
)

func (m *handshaker) begin(local, remote net.Addr) {
	m.wire = &wire{m: m, local: local, remote: remote}
	if m.client {
		m.conn = tls.Client(m.wire, m.cfg)
	} else {
		m.conn = tls.Server(m.wire, m.cfg)
	}
}

// reset forgets the handshake. The tls.Conn is dropped, never closed: Close would write an alert
// with a sequence number that is the session's by now.
func (m *handshaker) reset() {
	m.wire.m = nil
	m.log.wipe()
	*m = handshaker{
		cfg: m.cfg, client: m.client, inputMax: m.inputMax,
		in: kept(m.in), out: kept(m.out),
	}
}

func kept(b []byte) []byte {
	if cap(b) > keptBufferBytesMax {
		return nil
	}
	return b[:0]
}

// resume runs the coroutine until it wants bytes that are not there, or ends.
func (m *handshaker) resume() {
	if !m.started {
		m.started = true
		m.next, m.stop = iter.Pull(m.run)
	}
	m.next()
}

// run is the coroutine.
func (m *handshaker) run(yield func(struct{}) bool) {
	m.yield = yield
	m.err = errGoexit
	growStack()
	defer func() {
		if v := recover(); v != nil {
			m.err = &PanicError{Value: v, Stack: debug.Stack()}
		}
		m.ended = true
	}()
	// Handshake uses context.Background, so crypto/tls starts no goroutine of its own.
	m.err = m.conn.Handshake()
}

func (m *handshaker) abort() {
	m.stopped = true
	if m.started && !m.ended {
		m.stop()
	}
}

// ready tells whether Read can return something that gets the handshake on: the rest of a record, a
// whole record, or a header crypto/tls will refuse.
func (m *handshaker) ready() bool {
	b := m.in[m.off:]
	if m.left > 0 {
		return len(b) > 0
	}
	if len(b) < recordHeaderLen {
		return false
	}
	n := int(b[3])<<8 | int(b[4])
	plausible := b[0] >= recordChangeCipherSpec && b[0] <= recordData && b[1] == 3 &&
		n <= handshakeRecordBytesMax
	return !plausible || len(b) >= recordHeaderLen+n
}

// read copies the bytes of one record at most. crypto/tls reads as much as it is given; what it was
// given beyond a record would be lost in its buffer when the handshake ends with that record.
func (m *handshaker) read(p []byte) (int, error) {
	for !m.ready() {
		if m.stopped || !m.yield(struct{}{}) {
			m.stopped = true
			return 0, errStopped
		}
	}
	b := m.in[m.off:]
	if m.left == 0 {
		m.left = recordHeaderLen + int(b[3])<<8 + int(b[4])
	}
	n := copy(p, b[:min(len(b), m.left)])
	if m.taken += n; m.taken > m.inputMax {
		return 0, fmt.Errorf("%w: over %d bytes", ErrHandshakeTooLong, m.inputMax)
	}
	if m.client {
		m.hello.feed(b[:n])
	}
	m.off += n
	m.left -= n
	return n, nil
}

func (m *handshaker) write(p []byte) (int, error) {
	if m.stopped {
		return 0, errStopped
	}
	if !m.client {
		m.hello.feed(p)
	}
	m.out = append(m.out, p...)
	return len(p), nil
}

// session makes a session from the secrets that came through the key log.
func (m *handshaker) session(s *Session, version, id uint16) error {
	su, err := suiteOf(version, id)
	if err != nil {
		return err
	}
	if m.left != 0 {
		return fmt.Errorf("tlsengine: crypto/tls ended within a record (%d bytes left)", m.left)
	}
	if su.version == v13 {
		if m.log.clientLen != su.hashLen || m.log.serverLen != su.hashLen {
			return fmt.Errorf("tlsengine: traffic secrets of %d and %d bytes, want %d",
				m.log.clientLen, m.log.serverLen, su.hashLen)
		}
		s.init(su, m.client)
		client, server := s.sides()
		client.setTraffic(su, m.log.client[:su.hashLen])
		server.setTraffic(su, m.log.server[:su.hashLen])
		return nil
	}
	random, err := m.hello.random()
	if err != nil {
		return err
	}
	if !m.log.haveMaster {
		return errors.New("tlsengine: crypto/tls logged no master secret")
	}
	s.init(su, m.client)
	s.setMaster(su, m.log.master[:], m.log.clientRandom[:], random)
	return nil
}

// growStack makes the coroutine's stack as large as a handshake needs it, while there is nothing
// on it to be copied. Left alone it would double three times, with the whole of crypto/tls on it.
//
//go:noinline
func growStack() {
	var room [stackBytes]byte
	touch(&room)
}

//go:noinline
func touch(*[stackBytes]byte) {}
