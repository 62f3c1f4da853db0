package relay

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"derpd/relay/derp"
	"derpd/relay/websock"
)

// wsConn is a client's stream inside WebSocket messages.
type wsConn struct {
	net.Conn
	in      *bufio.Reader
	left    int    // of the message being read
	longest int    // message so far
	pongs   []byte // their payloads, one behind the other
}

// webSocket upgrades a stream to DERP over WebSocket.
func (r *liveRelay) webSocket(t *testing.T) *wsConn {
	t.Helper()
	c := &wsConn{Conn: r.stream(t)}
	io.WriteString(c.Conn, webSocketRequest)
	c.in = bufio.NewReader(c.Conn)
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the upgrade was answered %v, %v", answer, err)
	}
	return c
}

// Write sends one binary message.
func (c *wsConn) Write(b []byte) (int, error) {
	if _, err := c.Conn.Write(masked(0x82, b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Read gives the payload of messages, and takes pongs in on the way.
func (c *wsConn) Read(b []byte) (int, error) {
	for c.left == 0 {
		var head [4]byte
		if _, err := io.ReadFull(c.in, head[:2]); err != nil {
			return 0, err
		}
		n := int(head[1])
		if n == 126 {
			if _, err := io.ReadFull(c.in, head[2:]); err != nil {
				return 0, err
			}
			n = int(binary.BigEndian.Uint16(head[2:]))
		}
		switch head[0] {
		case 0x82:
			c.left = n
			c.longest = max(c.longest, n)
		case 0x8a:
			pong := make([]byte, n)
			if _, err := io.ReadFull(c.in, pong); err != nil {
				return 0, err
			}
			c.pongs = append(c.pongs, pong...)
		default:
			return 0, fmt.Errorf("a frame that begins with %x", head)
		}
	}
	n, err := c.in.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// loginWebSocket logs in with the n-th test key.
func (r *liveRelay) loginWebSocket(t *testing.T, n int) (*wireClient, *wsConn) {
	t.Helper()
	c := r.webSocket(t)
	w := &wireClient{Conn: c, in: bufio.NewReader(c), key: testKey(n)}
	w.pub = w.key.Public()
	if kind, _, err := w.recv(); err != nil || kind != derp.FrameServerKey {
		t.Fatalf("after the upgrade: %v, %v", kind, err)
	}
	info, shared := clientInfo(t, w.key, r.Public())
	if _, err := w.Write(info); err != nil {
		t.Fatal(err)
	}
	w.wantServerInfo(t, shared)
	return w, c
}

// TestWebSocketPackets: packets of all lengths pass between a client over WebSocket and one
// without, both ways. No message to the client is longer than derper's own clients take.
func TestWebSocketPackets(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{})
		plain := r.login(t, 1)
		ws, c := r.loginWebSocket(t, 2)
		for _, n := range []int{0, 1, 88, 89, 1400, websock.MessageMax - 37, websock.MessageMax,
			derp.MaxPacket} {
			packet := bytes.Repeat([]byte{byte(n) | 1}, n)
			for from := derp.AppendSendPacket(nil, plain.pub, packet); len(from) > 0; {
				part := from[:min(len(from), 30_000)] // masked has no longer form
				if _, err := ws.Write(part); err != nil {
					t.Fatal(err)
				}
				from = from[len(part):]
			}
			plain.want(t, derp.AppendRecvPacket(nil, ws.pub, packet))
			if _, err := plain.Write(derp.AppendSendPacket(nil, ws.pub, packet)); err != nil {
				t.Fatal(err)
			}
			ws.want(t, derp.AppendRecvPacket(nil, plain.pub, packet))
		}
		if c.longest != websock.MessageMax {
			t.Errorf("the longest message has %d bytes, want %d", c.longest, websock.MessageMax)
		}
		if n := r.Snapshot().WebSockets; n != 1 {
			t.Errorf("%d upgrades counted", n)
		}
	})
}

// TestWebSocketFragments: one DERP frame in several fragments, with pings between them, which
// are answered; and several DERP frames in one message.
func TestWebSocketFragments(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{})
		ws, c := r.loginWebSocket(t, 1)
		frame := derp.AppendSendPacket(nil, ws.pub, testPacket(3))
		for i := 0; i < len(frame); i += 500 {
			first := byte(0x00) // a continuation
			if i == 0 {
				first = 0x02
			}
			if i+500 >= len(frame) {
				first |= 0x80
			}
			c.Conn.Write(masked(first, frame[i:min(i+500, len(frame))]))
			c.Conn.Write(masked(0x89, []byte{byte(i / 500)}))
		}
		want := derp.AppendRecvPacket(nil, ws.pub, testPacket(3))
		ws.want(t, want)
		ws.Write(bytes.Repeat(frame, 3))
		for range 3 {
			ws.want(t, want)
		}
		if pongs := []byte{0, 1, 2}; !bytes.Equal(c.pongs, pongs) {
			t.Errorf("pings were answered by %x, want %x", c.pongs, pongs)
		}
	})
}

// TestNothingFollowsAClose: behind the close frame of a WebSocket its client is nobody's destination
// any more, also while the frame waits for the peer to read.
func TestNothingFollowsAClose(t *testing.T) {
	for name, breach := range map[string][]byte{
		"a breach": {0x82, 0x01, 'x'}, // not masked
		"a close":  masked(0x88, []byte{0x03, 0xe8}),
	} {
		_, ds, _ := newDoubles(t, 1, Config{})
		d := ds[0]
		from, older, cl := d.login(t, 1, false), d.login(t, 2, false), d.login(t, 2, false)
		c := d.l.at(cl.h)
		c.ws = new(websock.Reader)
		d.slots[cl.h.Slot()].blocked = true
		d.l.Received(from.h, derp.AppendSendPacket(nil, cl.key, []byte("before")))
		d.l.Flush() // held: the peer takes nothing
		d.l.Received(cl.h, breach)
		d.l.Flush()
		d.keep = true
		d.take()
		d.l.Received(from.h, derp.AppendSendPacket(nil, cl.key, []byte("behind")))
		d.l.Flush()
		if want := derp.AppendRecvPacket(nil, from.key, []byte("behind")); string(d.take()) !=
			string(want) || c.client != nil {
			t.Errorf("%s: the older connection of the key is not served", name)
		}
		d.unblock(cl.h)
		d.l.Flush()
		if sent := d.take(); !bytes.Contains(sent, []byte{0x88}) ||
			bytes.Contains(sent[bytes.IndexByte(sent, 0x88):], []byte("behind")) {
			t.Errorf("%s: %q was sent, want the close frame last", name, sent)
		}
		if remote := c.peer(); !remote.IsValid() {
			t.Errorf("%s: its address is forgotten", name)
		}
		_ = older
	}
}

// TestCloseBehindLogin: a WebSocket that ends while its login is worked on does not log in, and is
// read on, for the end of its stream.
func TestCloseBehindLogin(t *testing.T) {
	info, _, err := derp.AppendClientInfo(nil, testKey(1), testKey(0).Public(),
		derp.ClientInfo{Version: derp.ProtocolVersion}, [derp.NonceLen]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	for name, last := range map[string][]byte{
		"nothing":  nil,
		"a breach": {0x82, 0x01, 'x'}, // not masked
		"a close":  masked(0x88, []byte{0x03, 0xe8}),
	} {
		s, ds, work := newDoubles(t, 1, Config{})
		d := ds[0]
		h := d.accept()
		c := d.l.at(h)
		c.phase, c.ws = phaseLogin, new(websock.Reader)
		d.l.Received(h, append(masked(0x82, info), last...))
		for _, fn := range *work {
			fn()
		}
		d.settle()
		want, n := 0, s.keys.Counts().Conns
		if last == nil {
			want = 1
		}
		if n != want || (c.phase == phaseOpen) != (want == 1) {
			t.Errorf("%s behind a login: %d clients, phase %d", name, n, c.phase)
		}
		if d.slots[h.Slot()].paused {
			t.Errorf("%s behind a login: it is not read any more", name)
		}
	}
}

// TestWebSocketPongsBounded: a peer that sends pings and reads nothing makes us hold few pongs.
func TestWebSocketPongsBounded(t *testing.T) {
	_, ds, _ := newDoubles(t, 1, Config{})
	d := ds[0]
	cl := d.login(t, 1, false)
	c := d.l.at(cl.h)
	c.ws = new(websock.Reader)
	d.slots[cl.h.Slot()].blocked = true
	for range 1000 {
		d.l.Received(cl.h, masked(0x89, make([]byte, websock.ControlMax)))
		d.l.Flush()
	}
	const pong = 2 + websock.ControlMax
	if held := len(c.ctl.Buf); held > answersPending*pong {
		t.Errorf("%d bytes of pongs are held, want at most %d", held, answersPending*pong)
	}
}
