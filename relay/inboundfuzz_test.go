package relay

import (
	"bytes"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"derpd/netpoll"
	"derpd/relay/derp"
	"derpd/relay/registry"
	"derpd/relay/websock"
	"derpd/tlsengine"
)

// stage is what a stream is when the relay begins to hear it.
type stage uint8

const (
	stageRequest stage = iota // a stranger's, from the first byte on
	stageHello                // the same, of one who is to speak TLS
	stageClient               // of a client that is logged in
	stageMesh                 // of another node that is logged in here
	stageLink                 // of another node that we have dialled
	stages
)

var fuzzMeshKey = func() derp.MeshKey {
	k, err := derp.ParseMeshKey(strings.Repeat("5a", 32))
	if err != nil {
		panic(err)
	}
	return k
}()

// scene is a relay with one loop that hears a stream, and a client beside it.
type scene struct {
	*loopDouble
	t    *testing.T
	s    *Server
	work *[]func()
	sent map[netpoll.Handle][]byte

	speaker netpoll.Handle
	shook   int // bytes that its handshake was given
	peer    *doubleClient
	ends    *doubleClient // the speaker's end of TLS
}

// Send implements netpoll.Loop: it notes what each connection is sent.
func (w *scene) Send(h netpoll.Handle, b []byte) bool {
	w.sent[h] = append(w.sent[h], b...)
	return w.loopDouble.Send(h, b)
}

// neverending is a handshake that takes all and never ends.
type neverending struct{ taken *int }

func (e neverending) Step(in []byte) ([]byte, bool, error) {
	*e.taken += len(in)
	return nil, false, nil
}

func (e neverending) Finish(*tlsengine.Session) ([]byte, tls.ConnectionState, error) {
	panic("Finish before the end")
}

func (e neverending) Stop() {}

// newScene makes the relay. HTTP requests that are no upgrade are refused, which needs no other
// goroutine.
func newScene(t *testing.T, at stage, secure bool) *scene {
	w := &scene{t: t, work: new([]func()), sent: map[netpoll.Handle][]byte{},
		loopDouble: &loopDouble{now: int64(time.Hour)}}
	cfg := Config{Key: testKey(0), Seed: 1, MaxHTTP: 1, Mesh: Mesh{Key: fuzzMeshKey,
		Go: func(func()) {}, After: func(time.Duration, func()) {}},
		Submit: func(fn func()) { *w.work = append(*w.work, fn) }}
	if at == stageHello {
		cfg.NewHandshake = func(_, _ net.Addr) Handshaker { return neverending{&w.shook} }
	}
	w.s = New(cfg)
	t.Cleanup(w.s.Close)
	w.s.shared.http.Add(1)
	w.l = w.s.Attach(w, 1).(*loop)
	w.peer = w.login(t, 2, false)
	switch at {
	case stageRequest, stageHello:
		w.speaker = w.accept()
	case stageClient, stageMesh:
		w.ends = w.login(t, 1, secure)
		w.speaker = w.ends.h
		w.l.at(w.speaker).client.mesh = at == stageMesh
	case stageLink:
		w.speaker = netpoll.MakeHandle(0, len(w.slots), 9)
		w.slots = append(w.slots, doubleSlot{h: w.speaker})
		c := w.l.open(w.speaker, netip.MustParseAddrPort("198.51.100.9:443"))
		c.link = &link{srv: w.s, loop: w.l, peer: MeshPeer{Name: "other.test"}}
		c.phase = phaseConnect
		w.s.shared.connections.Add(1)
		w.l.Connected(w.speaker, nil)
	}
	w.turn(func() {})
	clear(w.sent)
	return w
}

// turn lets a turn pass, and those that follow from it, in no time.
func (w *scene) turn(input func()) {
	now := w.now
	for first := true; first || w.woken || len(w.posted) > 0 || len(*w.work) > 0; first = false {
		w.begin()
		w.now = now
		if first {
			input()
		}
		w.end()
		for i := range w.slots {
			if s := &w.slots[i]; s.closed && w.l.at(s.h) != nil {
				w.l.Closed(s.h, nil)
			}
		}
		work := *w.work
		*w.work = nil
		for _, fn := range work {
			fn()
		}
	}
	w.bounded()
}

// bounded checks what is held between turns: what has come of a frame or a head and up to as much
// again, a record's length, and nothing else.
func (w *scene) bounded() {
	w.t.Helper()
	var held int64
	for _, c := range w.l.conns {
		if c == nil {
			continue
		}
		if c.ctl != nil || c.out != nil {
			w.t.Fatal("something waits for a connection that takes all")
		}
		if c.in != nil {
			if have := cap(c.in.Buf); have > max(4096, 4*len(c.in.Buf)) {
				w.t.Fatalf("%d bytes are held for %d that have come", have, len(c.in.Buf))
			}
			held += int64(cap(c.in.Buf))
		}
		if c.raw != nil {
			if have := cap(c.raw.Buf); have > 64<<10 {
				w.t.Fatalf("%d bytes are held for a record", have)
			}
			held += int64(cap(c.raw.Buf))
		}
	}
	if n := w.l.q.Blocks.Lent(); n != held {
		w.t.Fatalf("%d bytes are on loan, %d for what is not whole yet", n, held)
	}
}

// hear lets the speaker say the stream, in pieces of the lengths that next gives; all in one turn,
// or each in one of its own, behind which its bytes are gone.
func (w *scene) hear(stream []byte, next func() int, turns bool) {
	if !turns {
		w.turn(func() {
			for len(stream) > 0 {
				n := min(next(), len(stream))
				w.l.Received(w.speaker, bytes.Clone(stream[:n]))
				stream = stream[n:]
			}
		})
		return
	}
	for len(stream) > 0 {
		if w.l.at(w.speaker) != nil && w.slots[w.speaker.Slot()].paused {
			w.t.Fatal("the stream is held up")
		}
		n := min(next(), len(stream))
		piece := bytes.Clone(stream[:n])
		stream = stream[n:]
		w.turn(func() { w.l.Received(w.speaker, piece) })
		for i := range piece {
			piece[i] = 0xee
		}
	}
}

// story is what came of a stream, as far as it does not depend on what a turn is.
type story struct {
	phase   phase
	keys    registry.Counts
	ends    [reasonCount]uint64
	counted [17]uint64
	shook   int
	link    int      // keys that a link reaches
	peer    []string // frames that the peer was sent, in order of their bytes
	speaker int      // bytes that the speaker was sent
}

func (w *scene) story() (s story) {
	n := w.counted()
	s.phase, s.keys, s.ends, s.shook = phaseDead, w.s.keys.Counts(), n.Ends, w.shook
	if c := w.l.at(w.speaker); c != nil {
		s.phase = c.phase
		if c.client != nil && c.client.node != nil {
			s.link = len(c.client.node.reaches)
		}
	}
	s.counted = [17]uint64{n.Logins, n.Upgrades, n.WebSockets, n.BytesReceived,
		n.PacketsReceived[0], n.PacketsReceived[1], n.PacketsSent + n.LinkSent + n.Dropped(),
		n.UnknownFrames, n.GotPing, n.SentPong, n.GoneNotHere, n.ForwardedOut, n.ForwardedIn,
		n.MultiCreated, n.MultiDeleted, n.GoneElsewhere, n.GoneDisconnected}
	for rest := w.sent[w.peer.h]; len(rest) > 0; {
		kind, size, ok := derp.Header(rest)
		if !ok || derp.CheckLen(kind, size, derp.FromServer) != nil ||
			len(rest) < derp.HeaderLen+size {
			w.t.Fatalf("the peer is sent no frame: %.80x", rest)
		}
		s.peer = append(s.peer, string(rest[:derp.HeaderLen+size]))
		rest = rest[derp.HeaderLen+size:]
	}
	slices.Sort(s.peer)
	s.speaker = w.said(w.sent[w.speaker])
	return s
}

// said is how many bytes the speaker was sent, under TLS if there is one, up to its end.
func (w *scene) said(wire []byte) (plain int) {
	if w.ends == nil || w.ends.tls == nil {
		return len(wire)
	}
	for len(wire) > 0 {
		n, err := tlsengine.RecordLen(wire)
		if err != nil || n == 0 || n > len(wire) {
			w.t.Fatalf("the speaker is sent no record: %.80x", wire)
		}
		p, err := w.ends.tls.Open(wire[:n])
		if err != nil {
			return plain
		}
		plain += len(p)
		wire = wire[n:]
	}
	return plain
}

// closedEarly tells that the one WebSocket ended while its login was still worked on, and the other
// did not: a login that is followed by a close frame in the same piece comes to nothing, good or bad.
func closedEarly(one, other *story) bool {
	return one.phase >= phaseDrain && one.counted[2] > 0 && (one.counted[0] < other.counted[0] ||
		one.ends[EndLoginBox] < other.ends[EndLoginBox])
}

// leave ends everything; nothing may be left.
func (w *scene) leave() {
	for _, h := range []netpoll.Handle{w.speaker, w.peer.h} {
		w.turn(func() { w.l.Received(h, nil) })
		if w.l.at(h) != nil { // a last word is read on for
			w.turn(func() { w.l.Closed(h, netpoll.ErrStopped) })
		}
	}
	if n := w.l.q.Blocks.Lent(); n != 0 || w.l.q.Held() != 0 {
		w.t.Errorf("%d bytes are on loan and %d queued when all have left", n, w.l.q.Held())
	}
	if n, budget := w.counted().Connections, w.s.shared.preLogin.Load(); n != 0 || budget != 0 {
		w.t.Errorf("%d connections and %d bytes of logins are counted when all have left", n, budget)
	}
}

// FuzzInbound: any bytes at any stage of a connection, in any pieces, come to the same as in one
// piece, and hold no more memory than what has come.
func FuzzInbound(f *testing.F) {
	peer, far := derp.Key(testKey(2)), derp.Key(testKey(7))
	info, _, err := derp.AppendClientInfo(nil, testKey(1), testKey(0).Public(),
		derp.ClientInfo{Version: derp.ProtocolVersion}, [derp.NonceLen]byte{1})
	if err != nil {
		f.Fatal(err)
	}
	disco := append([]byte("TS\xf0\x9f\x92\xac"), make([]byte, 100)...)
	client := derp.AppendSendPacket(nil, peer, []byte("hello"))
	client = derp.AppendPing(client, [8]byte{1, 2, 3})
	client = append(derp.AppendHeader(client, 0x77, 300), make([]byte, 300)...)
	client = derp.AppendSendPacket(client, peer, make([]byte, 5000))
	client = derp.AppendNotePreferred(client, true)
	client = derp.AppendSendPacket(client, far, disco)
	client = derp.AppendSendPacket(client, peer, disco)
	mesh := derp.AppendWatchConns(slices.Clip(client))
	mesh = derp.AppendForwardPacket(mesh, far, peer, []byte("from afar"))
	mesh = derp.AppendClosePeer(mesh, peer)
	link := []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n\r\n")
	link = derp.AppendServerKey(link, testKey(5).Public())
	link = append(derp.AppendHeader(link, derp.FrameServerInfo, 60), make([]byte, 60)...)
	link = derp.AppendPeerPresent(link, derp.PeerPresent{Key: far})
	link = derp.AppendPeerGone(derp.AppendKeepAlive(link), far, derp.GoneDisconnected)
	link = derp.AppendPing(link, [8]byte{4})
	sum := sha1.Sum(nil)
	webSocket := "GET /derp HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: derp\r\nSec-WebSocket-Key: " +
		base64.StdEncoding.EncodeToString(sum[:16]) + "\r\n\r\n"
	f.Add(byte(stageClient), true, true, client, []byte{3, 1, 200})
	f.Add(byte(stageClient), false, true, client, []byte{})
	f.Add(byte(stageClient), false, false, client, []byte{250})
	f.Add(byte(stageMesh), true, false, mesh, []byte{3, 40})
	f.Add(byte(stageLink), false, true, link, []byte{0, 30})
	f.Add(byte(stageLink), false, false, link, []byte{77})
	f.Add(byte(stageRequest), false, true,
		slices.Concat([]byte(upgradeRequest), info, client), []byte{50, 0, 9})
	f.Add(byte(stageRequest), false, true,
		append([]byte(webSocket), maskedMessage(slices.Concat(info, client))...), []byte{99})
	f.Add(byte(stageRequest), false, true, slices.Concat([]byte(webSocket), maskedMessage(info),
		masked(0x88, []byte{0x03, 0xe8})), []byte{99})
	f.Add(byte(stageRequest), false, true, []byte("GET / HTTP/1.1\nHost: h\n\r\n"), []byte{5})
	f.Add(byte(stageHello), false, true, append(tlsRecord(22, make([]byte, 300)), 1, 2, 3),
		[]byte{2, 100})
	f.Fuzz(func(t *testing.T, at byte, secure, turns bool, stream, cuts []byte) {
		from := stage(at) % stages
		stream = stream[:min(len(stream), 64<<10)]
		most := 64 << 10 // what a turn receives
		switch from {
		case stageRequest, stageHello: // what is worked on between turns holds the stream up
			most, turns = preLoginReceive, true
		case stageMesh, stageLink:
			// Whom ClosePeer ends has been sent what earlier turns had for it, and a link whose
			// login cannot be made ends behind the turn that asks for it.
			turns = false
		}
		tell := func(next func() int, turns bool) (s story, ended bool) {
			w := newScene(t, from, secure)
			wire := stream
			if w.ends != nil {
				wire = nil
				for part := range slices.Chunk(stream, 1500) {
					wire = append(wire, w.ends.seal(part)...)
				}
			}
			w.hear(wire, next, turns)
			s = w.story()
			w.leave()
			return s, s.phase == phaseDead
		}
		want, _ := tell(func() int { return most }, most == preLoginReceive)
		i := 0
		got, ended := tell(func() int {
			n := 1
			if len(cuts) > 0 {
				n += int(cuts[i%len(cuts)])
				i++
			}
			return n
		}, turns)
		if ended && turns { // what is said to it in the turn that ends it has no reader
			got.speaker = want.speaker
		}
		if closedEarly(&got, &want) || closedEarly(&want, &got) {
			return
		}
		if got.phase != want.phase || got.keys != want.keys || got.ends != want.ends ||
			got.counted != want.counted || got.shook != want.shook || got.link != want.link ||
			got.speaker != want.speaker || !slices.Equal(got.peer, want.peer) {
			t.Fatalf("in pieces %+v\nin one %+v", got, want)
		}
	})
}

// maskedMessage is a WebSocket message of a client.
func maskedMessage(b []byte) []byte {
	mask := [4]byte{1, 2, 3, 4}
	out := websock.AppendMaskedHeader(nil, len(b), mask)
	head := len(out)
	out = append(out, b...)
	websock.Mask(out[head:], mask, 0)
	return out
}
