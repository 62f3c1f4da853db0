package relay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"crypto/tls"

	"derpd/netpoll"
	"derpd/relay/derp"
	"derpd/tlsengine"
)

// loopDouble is a netpoll.Loop without sockets, timers or goroutine. The test plays the
// part of the loop: it calls the handler and says when a turn ends.
type loopDouble struct {
	l      *loop
	id     int
	now    int64
	gen    uint32
	posted []func()
	woken  bool

	slots []doubleSlot
	sends int
	sent  []byte // what the Sends since the last take gave, if keep is set
	keep  bool
}

// doubleSlot is what the double knows of a connection.
type doubleSlot struct {
	h       netpoll.Handle
	held    []byte // the Send that has not been taken
	blocked bool   // Sends are not taken
	closed  bool
	paused  bool
}

func (d *loopDouble) ID() int    { return d.id }
func (d *loopDouble) Now() int64 { return d.now }
func (d *loopDouble) Wake()      { d.woken = true }
func (d *loopDouble) Stop()      {}

func (d *loopDouble) Post(fn func()) bool {
	d.posted = append(d.posted, fn)
	return true
}

func (d *loopDouble) Leave(fn func()) bool { return d.Post(fn) }

func (d *loopDouble) Connect(_, _ netip.AddrPort) (netpoll.Handle, error) {
	return 0, netpoll.ErrStopped
}

func (d *loopDouble) Send(h netpoll.Handle, b []byte) bool {
	s := &d.slots[h.Slot()]
	if s.held != nil {
		panic("Send before Sent of the last one")
	}
	d.sends++
	if s.blocked {
		s.held = b
		return false
	}
	if d.keep {
		d.sent = append(d.sent, b...)
	}
	return true
}

func (d *loopDouble) Close(h netpoll.Handle)                        { d.slots[h.Slot()].closed = true }
func (d *loopDouble) Reset(h netpoll.Handle)                        { d.Close(h) }
func (d *loopDouble) PauseReceive(h netpoll.Handle)                 { d.slots[h.Slot()].paused = true }
func (d *loopDouble) ResumeReceive(h netpoll.Handle)                { d.slots[h.Slot()].paused = false }
func (d *loopDouble) SetReceiveMax(netpoll.Handle, int)             {}
func (d *loopDouble) SetTimeout(netpoll.Handle, time.Duration)      {}
func (d *loopDouble) SetWriteTimeout(netpoll.Handle, time.Duration) {}
func (d *loopDouble) WakeAt(int64)                                  {}
func (d *loopDouble) SetBusy(bool)                                  {}
func (d *loopDouble) Stats() netpoll.Stats                          { return netpoll.Stats{} }
func (d *loopDouble) LocalAddr(netpoll.Handle) (netip.AddrPort, error) {
	return netip.MustParseAddrPort("192.0.2.1:443"), nil
}

func (d *loopDouble) RoundTrip(netpoll.Handle) (time.Duration, bool) {
	return 30 * time.Millisecond, true
}

// begin starts a turn: what was posted, and Woken if anyone asked for it.
func (d *loopDouble) begin() {
	d.now += int64(50 * time.Microsecond)
	if len(d.posted) > 0 {
		posted := d.posted
		d.posted = nil
		d.woken = true
		for _, fn := range posted {
			fn()
		}
	}
	if d.woken {
		d.woken = false
		d.l.Woken()
	}
}

// end ends a turn: Flush, then Closed of what the relay has closed in it.
func (d *loopDouble) end() { d.l.Flush() }

// settle runs turns until nothing is posted and nobody wants one.
func (d *loopDouble) settle() {
	for d.woken || len(d.posted) > 0 {
		d.begin()
		d.end()
	}
}

// accept opens a connection.
func (d *loopDouble) accept() netpoll.Handle {
	d.gen++
	slot := len(d.slots)
	h := netpoll.MakeHandle(d.id, slot, d.gen)
	d.slots = append(d.slots, doubleSlot{h: h})
	d.l.Accepted(h, 0, netip.MustParseAddrPort("198.51.100.7:1234"))
	return h
}

// unblock lets the Sends of a connection through again, first the one that is held.
func (d *loopDouble) unblock(h netpoll.Handle) {
	s := &d.slots[h.Slot()]
	s.blocked = false
	if b := s.held; b != nil {
		s.held = nil
		if d.keep {
			d.sent = append(d.sent, b...)
		}
		d.l.Sent(h, b, len(b), nil)
	}
}

// take returns what was sent since the last take.
func (d *loopDouble) take() []byte {
	b := append([]byte(nil), d.sent...)
	d.sent = d.sent[:0]
	return b
}

// newDoubles makes a relay whose loops are doubles. It has no workers; what would be theirs
// goes to work, in order.
func newDoubles(t testing.TB, loops int, cfg Config) (s *Server, ds []*loopDouble, work *[]func()) {
	t.Helper()
	work = new([]func())
	cfg.Key = testKey(0)
	cfg.Seed = 1
	cfg.Submit = func(fn func()) { *work = append(*work, fn) }
	s = New(cfg)
	t.Cleanup(s.Close)
	for i := range loops {
		d := &loopDouble{id: i, now: int64(time.Hour), sent: make([]byte, 0, 1<<20)}
		d.l = s.Attach(d, loops).(*loop)
		ds = append(ds, d)
	}
	return s, ds, work
}

// testKey is a private key that is the same in every run. It serves as a client's public
// key too where nobody computes with it.
func testKey(n int) (k derp.PrivateKey) {
	binary.BigEndian.PutUint64(k[8:], uint64(n)+1)
	k[0] = 0x42
	return k
}

// doubleClient is a client of a double: its handle, key and, with TLS, its end of the session.
type doubleClient struct {
	d   *loopDouble
	h   netpoll.Handle
	key derp.Key
	tls *tlsengine.Session
}

// login opens a connection that is logged in, without the work of a handshake and a box.
func (d *loopDouble) login(t testing.TB, n int, secure bool) *doubleClient {
	t.Helper()
	cl := &doubleClient{d: d, h: d.accept(), key: derp.Key(testKey(n))}
	c := d.l.at(cl.h)
	if secure {
		var secret [32]byte
		binary.BigEndian.PutUint64(secret[:], uint64(d.id)<<32|uint64(cl.h.Generation()))
		client, server, err := tlsengine.NewPair(tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256,
			secret[:])
		if err != nil {
			t.Fatal(err)
		}
		cl.tls, c.tls = &client, &server
	}
	c.phase = phaseLogin
	c.login = &login{}
	d.l.loginOpened(cl.h, c.login, loggedIn{key: cl.key, reply: derp.AppendKeepAlive(nil)})
	keep := d.keep
	d.keep = true
	d.take()
	d.l.Flush()
	if reply := cl.open(t, d.take()); !bytes.Equal(reply, derp.AppendKeepAlive(nil)) {
		t.Fatalf("the login was answered by %x", reply)
	}
	d.keep = keep
	return cl
}

// seal returns plaintext as the client puts it on the wire: one record, or as it is.
func (c *doubleClient) seal(plain []byte) []byte {
	if c.tls == nil {
		return append([]byte(nil), plain...)
	}
	out := make([]byte, 0, len(plain)+c.tls.Overhead())
	out = append(c.tls.SealStart(out), plain...)
	return c.tls.SealFinish(out, 0)
}

// open returns the stream in wire, which must be whole records.
func (c *doubleClient) open(t testing.TB, wire []byte) (plain []byte) {
	t.Helper()
	if c.tls == nil {
		return wire
	}
	for len(wire) > 0 {
		n, err := tlsengine.RecordLen(wire)
		if err != nil || n == 0 || n > len(wire) {
			t.Fatalf("no whole record: %d of %d bytes, %v", n, len(wire), err)
		}
		p, err := c.tls.Open(wire[:n])
		if err != nil {
			t.Fatal(err)
		}
		plain = append(plain, p...)
		wire = wire[n:]
	}
	return plain
}

// counted sums a double's counters.
func (d *loopDouble) counted() *Counters { return &d.l.n }
