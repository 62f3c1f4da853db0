package loadtest

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/scrape"
	"derpd/relay/derp"
)

// Rules has a few clients do by hand what the load generator does not: packets to one that has
// just come, to nobody, and to several in one write, frames in pieces, a key that comes twice, a
// frame that no client may send.
func Rules(t *testing.T, target loadgen.Target) {
	t.Helper()
	const newcomers = 200
	a, b, c := login(t, target, newKey(t)), login(t, target, newKey(t)), login(t, target, newKey(t))

	// A client that has its ServerInfo can be reached, in that moment.
	for range newcomers {
		n := login(t, target, newKey(t))
		a.write(derp.AppendSendPacket(nil, n.key, []byte("welcome")))
		n.expect(a.key, "welcome")
	}

	var burst []byte
	for _, p := range []struct {
		to   derp.Key
		text string
	}{{b.key, "1"}, {b.key, "2"}, {c.key, "3"}, {derp.Key{1}, "nobody's"}, {b.key, "4"},
		{a.key, "5"}} {
		burst = derp.AppendSendPacket(burst, p.to, []byte(p.text))
	}
	burst = derp.AppendPing(burst, [derp.PingLen]byte{6})
	a.write(burst)
	b.expect(a.key, "1", "2", "4")
	c.expect(a.key, "3")
	a.expect(a.key, "5")
	if kind, payload := a.frame(); kind != derp.FramePong || payload[0] != 6 {
		t.Errorf("the ping was answered by %v %v", kind, payload)
	}

	for piece := range slices.Chunk(burst, 7) { // TCP_NODELAY is Go's default
		a.write(piece)
		time.Sleep(100 * time.Microsecond) // a chance for the relay to see them apart
	}
	b.expect(a.key, "1", "2", "4")
	c.expect(a.key, "3")
	a.expect(a.key, "5")

	again := login(t, target, b.private)
	if _, err := b.r.ReadByte(); err == nil {
		t.Error("an older connection goes on beside a newer one of its key")
	}
	c.write(derp.AppendSendPacket(nil, b.key, []byte("7")))
	again.expect(c.key, "7")

	c.write(derp.AppendHeader(nil, derp.FrameSendPacket, derp.KeyLen+derp.MaxPacket+1))
	if _, err := c.r.ReadByte(); err == nil {
		t.Error("a client goes on that announced too long a packet")
	}

	// What a client sees, its relay may count a moment later.
	var m scrape.Metrics
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		var err error
		if m, err = scrape.Read(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		if m.Dropped["unknown_dest"] == 2 && m.Received == 13+newcomers &&
			m.Sent == 11+newcomers && m.Connections == 2+newcomers {
			return
		}
	}
	t.Errorf("the relay counts %+v, want %d received, %d sent, 2 for nobody, and %d connections", m,
		13+newcomers, 11+newcomers, 2+newcomers)
}

// hand is a client by hand, over plain TCP.
type hand struct {
	t       *testing.T
	private derp.PrivateKey
	key     derp.Key
	conn    net.Conn
	r       *bufio.Reader
}

func newKey(t *testing.T) derp.PrivateKey {
	t.Helper()
	k, err := derp.NewPrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func login(t *testing.T, target loadgen.Target, private derp.PrivateKey) *hand {
	t.Helper()
	conn, err := net.Dial("tcp", target.Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	h := &hand{t: t, private: private, key: private.Public(), conn: conn, r: bufio.NewReader(conn)}
	h.write(fmt.Appendf(nil, "GET /derp HTTP/1.1\r\nHost: %s\r\nUpgrade: DERP\r\n"+
		"Connection: Upgrade\r\n\r\n", target.Host))
	res, err := http.ReadResponse(h.r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the upgrade: %v, %v", res, err)
	}
	kind, payload := h.frame()
	server, err := derp.ParseServerKey(payload)
	if kind != derp.FrameServerKey || err != nil {
		t.Fatalf("greeting %v: %v", kind, err)
	}
	info, shared, err := derp.AppendClientInfo(nil, private, server,
		derp.ClientInfo{Version: derp.ProtocolVersion}, [derp.NonceLen]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	h.write(info)
	if kind, payload = h.frame(); kind != derp.FrameServerInfo {
		t.Fatalf("%v answers a login", kind)
	}
	if _, err := shared.OpenServerInfo(payload); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hand) write(b []byte) {
	h.t.Helper()
	if _, err := h.conn.Write(b); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hand) frame() (derp.FrameType, []byte) {
	h.t.Helper()
	header := make([]byte, derp.HeaderLen)
	if _, err := io.ReadFull(h.r, header); err != nil {
		h.t.Fatal(err)
	}
	kind, n, _ := derp.Header(header)
	payload := make([]byte, n)
	if _, err := io.ReadFull(h.r, payload); err != nil {
		h.t.Fatal(err)
	}
	return kind, payload
}

// expect reads packets with these texts, in order.
func (h *hand) expect(from derp.Key, texts ...string) {
	h.t.Helper()
	for _, want := range texts {
		kind, payload := h.frame()
		src, text, err := derp.ParseRecvPacket(payload)
		if kind != derp.FrameRecvPacket || err != nil || src != from || string(text) != want {
			h.t.Fatalf("%v %q from %v (%v), want %q", kind, text, src.Short(), err, want)
		}
	}
}
