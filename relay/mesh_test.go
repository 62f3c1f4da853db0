package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/netip"
	"testing"
	"time"

	"derpd/netpoll"
	"derpd/relay/derp"
	"derpd/relay/queue"
	"derpd/relay/registry"
	"derpd/tlsengine"
)

// dialDouble is a loop on which a Connect goes on until the test says what becomes of it.
type dialDouble struct {
	loopDouble
	dialled  []netpoll.Handle
	patience time.Duration // the write timeout set last
}

func (d *dialDouble) SetWriteTimeout(_ netpoll.Handle, to time.Duration) { d.patience = to }

func (d *dialDouble) Connect(_, _ netip.AddrPort) (netpoll.Handle, error) {
	d.gen++
	h := netpoll.MakeHandle(0, len(d.slots), d.gen)
	d.slots = append(d.slots, doubleSlot{h: h})
	d.dialled = append(d.dialled, h)
	return h, nil
}

// startMesh makes d the only loop of s, which then dials.
func (d *dialDouble) startMesh(t *testing.T, s *Server) *loop {
	t.Helper()
	t.Cleanup(s.Close)
	d.l = s.Attach(d, 1).(*loop)
	s.StartMesh()
	d.settle()
	return d.l
}

// TestMeshPeerIsDialledOn: a peer that refuses, that does not answer, or that is still being
// dialled at the end of the relay, costs nothing but the next try, and that once.
func TestMeshPeerIsDialledOn(t *testing.T) {
	for name, tc := range map[string]struct {
		become func(l *loop, h netpoll.Handle)
		again  int
	}{
		"refuses": {func(l *loop, h netpoll.Handle) { l.Connected(h, netpoll.ErrClosed) }, 1},
		"does not answer": {func(l *loop, h netpoll.Handle) {
			l.Timeout(h)
			l.Connected(h, netpoll.ErrClosed) // what the relay's own Close ends in
		}, 1},
		"at the end": {func(l *loop, h netpoll.Handle) {
			l.shutdown()
			l.Connected(h, netpoll.ErrStopped)
		}, 0},
		"connects, and says nothing": {func(l *loop, h netpoll.Handle) {
			l.Connected(h, nil)
			l.Timeout(h)
			l.Closed(h, nil)
		}, 1},
		"connects, and does not answer the login": {func(l *loop, h netpoll.Handle) {
			l.Connected(h, nil)
			c := l.at(h)
			c.phase = phaseLink
			c.link.heard = true // its greeting
			l.Timeout(h)
			if c.phase != phaseDead {
				panic("a link without an answer was not ended")
			}
			l.Closed(h, nil)
		}, 1},
		"connects, and is silent for long": {func(l *loop, h netpoll.Handle) {
			l.Connected(h, nil)
			c := l.at(h)
			c.phase = phaseLink
			c.link.up, c.link.heard = true, true
			l.Timeout(h)
			if c.phase == phaseDead {
				panic("a link that has had traffic was ended")
			}
			c.active = true // we send, and hear nothing
			l.Timeout(h)
			if l.at(h).phase != phaseDead {
				panic("a silent link was not ended")
			}
			l.Closed(h, nil)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			d := &dialDouble{}
			var later []func()
			s := New(Config{Key: testKey(0), Submit: func(func()) {}, Mesh: Mesh{
				Go: func(fn func()) { fn() },
				After: func(wait time.Duration, fn func()) {
					if wait != meshRetry {
						t.Errorf("dialled again after %v", wait)
					}
					later = append(later, fn)
				},
				Peers: otherNode()}})
			l := d.startMesh(t, s)
			if d.patience != meshWriteTimeout {
				t.Errorf("a write timeout of %v", d.patience)
			}
			tc.become(l, d.dialled[0])
			d.settle()
			if len(later) != tc.again || l.n.Connections != 0 || s.shared.connections.Load() != 0 {
				t.Fatalf("%d tries to come, want %d; %d connections", len(later), tc.again,
					l.n.Connections)
			}
			for _, fn := range later {
				fn()
			}
			d.settle()
			if len(d.dialled) != 1+tc.again {
				t.Errorf("dialled %d times, want %d", len(d.dialled), 1+tc.again)
			}
		})
	}
}

// otherNode is a mesh peer at an address that nobody answers: dialDouble takes what is dialled.
func otherNode() []MeshPeer {
	return []MeshPeer{{Name: "other", Resolve: func(context.Context) ([]netip.AddrPort, error) {
		return []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:443")}, nil
	}}}
}

// refusal is a handshake that says something and refuses whatever comes.
type refusal struct{ say []byte }

func (r *refusal) Step(in []byte) (out []byte, done bool, err error) {
	if len(in) == 0 { // a client's first flight
		return nil, false, nil
	}
	return r.say, false, errSimHello
}

func (r *refusal) Finish(*tlsengine.Session) (_ []byte, _ tls.ConnectionState, err error) {
	return nil, tls.ConnectionState{}, errSimHello
}

func (r *refusal) Stop() {}

// TestMeshPeerIsToldWhy: a node whose certificate, say, is refused gets the TLS alert, also if its
// connection is slow to take it; only then it is dialled on.
func TestMeshPeerIsToldWhy(t *testing.T) {
	for _, slow := range []bool{false, true} {
		d := &dialDouble{}
		d.keep = true
		var later, work []func()
		s := New(Config{Key: testKey(0), Submit: func(fn func()) { work = append(work, fn) }, Mesh: Mesh{
			Go:    func(fn func()) { fn() },
			After: func(_ time.Duration, fn func()) { later = append(later, fn) },
			NewHandshake: func(string) (Handshaker, error) {
				return &refusal{simAlert}, nil
			},
			Peers: otherNode()}})
		l := d.startMesh(t, s)
		h := d.dialled[0]
		slot := &d.slots[h.Slot()]
		slot.blocked = slow
		l.Connected(h, nil)
		l.Flush()
		work[0]()
		d.settle()
		l.Received(h, simFlight)
		l.Flush()
		work[1]()
		d.settle()
		if slow {
			if slot.closed || len(later) != 0 {
				t.Fatal("ended before the alert could leave")
			}
			d.unblock(h)
			l.Flush()
		}
		if got := d.take(); !bytes.Equal(got, simAlert) {
			t.Errorf("slow %v: sent %x, want the alert %x", slow, got, simAlert)
		}
		if !slot.closed || l.n.Ends[EndMesh] != 1 || len(later) != 1 {
			t.Errorf("slow %v: closed %v, %d ended for %v, %d tries to come", slow, slot.closed,
				l.n.Ends[EndMesh], EndMesh, len(later))
		}
		l.Closed(h, nil)
		if s.shared.handshakes.Load() != 0 || l.n.InHandshake != 0 || l.n.Connections != 0 {
			t.Errorf("slow %v: %d handshakes, %d under way, %d connections are left", slow,
				s.shared.handshakes.Load(), l.n.InHandshake, l.n.Connections)
		}
	}
}

// linkTo makes a link by which a key is reached.
func linkTo(l *loop, k derp.Key) *client {
	cl := &client{sender: sender{key: derp.Key{0xee}}, loop: l, link: true,
		node: &node{reaches: map[derp.Key]struct{}{}}, conn: &conn{early: new(early)}}
	l.learn(cl, k)
	return cl
}

// TestForwardIsOneHop: what another node forwards is delivered here or dropped, and answered;
// never given to a third node.
func TestForwardIsOneHop(t *testing.T) {
	_, ds, _ := newDoubles(t, 1, Config{})
	d := ds[0]
	peer := d.login(t, 1, false)
	d.l.at(peer.h).client.mesh = true
	elsewhere := derp.Key{5}
	third := linkTo(d.l, elsewhere)
	probe := append([]byte("TS💬"), make([]byte, 100)...)
	d.keep = true
	d.take()
	d.l.Received(peer.h, derp.AppendForwardPacket(nil, derp.Key{6}, elsewhere, probe))
	d.l.Flush()
	if n := d.l.n.Drops[DropUnknownDestOnFwd][queue.Disco].Frames; n != 1 || !third.q.Empty() ||
		d.l.n.ForwardedIn != 1 || d.l.n.ForwardedOut != 0 {
		t.Errorf("%d dropped, %d frames for a third node", n, third.q.Len())
	}
	if got, want := d.take(), derp.AppendPeerGone(nil, elsewhere, derp.GoneNotHere); string(got) !=
		string(want) {
		t.Errorf("answered by %x, want %x", got, want)
	}
}

// TestForwardedPacket: the frame for another node names who sent it, has its class, and goes to
// the queue of the link once; a key that is here too is served here.
func TestForwardedPacket(t *testing.T) {
	_, ds, _ := newDoubles(t, 1, Config{})
	d := ds[0]
	from, k := d.login(t, 1, false), derp.Key{5}
	link := linkTo(d.l, k)
	link.conn.client = link
	link.conn.out = d.l.q.Blocks.Get(1) // a Send is in flight, so frames wait
	data := []byte("no probe")
	probe := append([]byte("TS💬"), make([]byte, 100)...)
	d.l.Received(from.h, derp.AppendSendPacket(nil, k, data))
	d.l.Received(from.h, derp.AppendSendPacket(nil, k, probe))
	for kind, packet := range map[queue.Kind][]byte{queue.Data: data, queue.Disco: probe} {
		f, ok := link.q.Pop(&d.l.q, kind)
		if want := derp.AppendForwardPacket(nil, from.key, k, packet); !ok ||
			string(f.Data) != string(want) {
			t.Errorf("queued for the link: %x, want %x", f.Data, want)
		}
	}
	if !link.q.Empty() || d.l.n.ForwardedOut != 2 {
		t.Errorf("%d more frames are queued; %d forwarded", link.q.Len(), d.l.n.ForwardedOut)
	}
	here := d.login(t, 2, false)
	d.l.learn(link, here.key)
	d.l.Received(from.h, derp.AppendSendPacket(nil, here.key, data))
	if !link.q.Empty() || d.l.at(here.h).client.q.Empty() {
		t.Error("a key that is here was served by another node")
	}
	if via := d.l.srv.keys.Lookup((*registry.Key)(&here.key)).Via(); via != link {
		t.Error("the other way to it is forgotten")
	}
}

// TestForwardedPacketsAreDropped: whatever drops it, a packet for another node counts as many bytes as
// it had when it came.
func TestForwardedPacketsAreDropped(t *testing.T) {
	_, ds, _ := newDoubles(t, 1, Config{})
	d := ds[0]
	from, k := d.login(t, 1, false), derp.Key{5}
	link := linkTo(d.l, k)
	c := link.conn
	c.client = link
	c.out = d.l.q.Blocks.Get(1) // a Send is in flight, so frames wait
	packet := make([]byte, 1000)
	send := func(n int) {
		for range n {
			d.l.Received(from.h, derp.AppendSendPacket(nil, k, packet))
		}
	}
	check := func(why DropReason, frames int) {
		t.Helper()
		want := KindCount{Frames: uint64(frames), Bytes: uint64(frames * len(packet))}
		if got := d.l.n.Drops[why][queue.Data]; got != want {
			t.Errorf("dropped as %v: %+v, want %+v", why, got, want)
		}
	}
	send(3)
	d.now += int64(queue.AgeMax) + 1
	c.out.Free(&d.l.q.Blocks)
	c.out = nil
	if b := d.l.fill(c); b != nil {
		t.Errorf("%d bytes of frames that are too old were to be sent", len(b.Buf))
	}
	check(DropQueueHead, 3)
	c.out = d.l.q.Blocks.Get(1)
	send(2)
	d.l.leave(c)
	check(DropGoneDisconnected, 2)
	d.l.hand(link, derp.AppendForwardPacket(nil, from.key, k, packet), nil, queue.Data)
	check(DropGoneDisconnected, 3)
}

// TestUselessRemotesAreForgotten: a node that dials us and that we do not dial tells of no departure,
// so the books of its keys must not stay; those of keys that a link reaches must.
func TestUselessRemotesAreForgotten(t *testing.T) {
	_, ds, _ := newDoubles(t, 1, Config{})
	d := ds[0]
	to, peer := d.login(t, 1, false), d.login(t, 2, false)
	d.l.at(peer.h).client.mesh = true
	known := derp.Key{0xbb, 1}
	linkTo(d.l, known)
	forward := func(from derp.Key) {
		d.l.Received(peer.h, derp.AppendForwardPacket(nil, from, to.key, []byte("packet")))
		d.l.Flush()
	}
	forward(known)
	for i := range 5 * remotesLookMin {
		forward(derp.Key{0xaa, byte(i), byte(i >> 8)})
	}
	if n := len(d.l.remotes); n > remotesLookMin+1 {
		t.Errorf("%d keys are remembered, want at most %d", n, remotesLookMin+1)
	}
	if d.l.remotes[known] == nil || d.l.n.ReachedOverflow != 0 {
		t.Errorf("the key of a link is remembered: %v; %d overflowed", d.l.remotes[known] != nil,
			d.l.n.ReachedOverflow)
	}
}

// TestLinkAnswersPings: another node may ask whether we are there.
func TestLinkAnswersPings(t *testing.T) {
	_, ds, _ := newDoubles(t, 1, Config{})
	d := ds[0]
	from := d.login(t, 1, false) // a connection to make a link of
	c := d.l.at(from.h)
	c.early = &early{link: &link{srv: d.l.srv, loop: d.l, up: true}}
	c.phase = phaseLink
	ping := [derp.PingLen]byte{1, 2, 3}
	d.keep = true
	d.take()
	d.l.Received(from.h, derp.AppendPing(nil, ping))
	d.l.Flush()
	if got, want := d.take(), derp.AppendPong(nil, ping); string(got) != string(want) {
		t.Errorf("answered by %x, want %x", got, want)
	}
}
