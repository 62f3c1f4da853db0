package browser

import (
	"bytes"
	"context"
	"encoding/hex"
	"net"
	"slices"
	"testing"

	"derpd/interop/harness"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"

	"go4.org/mem"
)

// native is Tailscale's own client, logged in over plain DERP.
type native struct {
	*derphttp.Client
	messages chan derp.ReceivedMessage // closed when the connection has ended
}

func newNative(ctx context.Context, t *testing.T, r *harness.Relay) *native {
	t.Helper()
	c, err := derphttp.NewClient(key.NewNode(), r.URL("/derp"), logger.Discard, netmon.NewStatic())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if r.TLS {
		c.TLSConfig = r.TLSConfig()
	}
	c.SetURLDialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, r.Addr)
	})
	if err := c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	n := &native{c, make(chan derp.ReceivedMessage, 1000)}
	go n.read()
	if m := n.next(ctx, t); m != (derp.ServerInfoMessage{}) {
		t.Fatalf("first message %T, want ServerInfo", m)
	}
	return n
}

func (n *native) read() {
	defer close(n.messages)
	for {
		m, _, err := n.RecvDetail()
		if err != nil {
			return
		}
		switch p := m.(type) {
		case derp.KeepAliveMessage:
			continue
		case derp.ReceivedPacket:
			p.Data = slices.Clone(p.Data)
			m = p
		}
		n.messages <- m
	}
}

func (n *native) next(ctx context.Context, t *testing.T) derp.ReceivedMessage {
	t.Helper()
	select {
	case m, ok := <-n.messages:
		if !ok {
			t.Fatal("the native client's connection has ended")
		}
		return m
	case <-ctx.Done():
		t.Fatal("nothing came to the native client")
	}
	return nil
}

func (n *native) wantPacket(ctx context.Context, t *testing.T, from key.NodePublic, data []byte) {
	t.Helper()
	m := n.next(ctx, t)
	if p, ok := m.(derp.ReceivedPacket); !ok || p.Source != from || !bytes.Equal(p.Data, data) {
		t.Fatalf("got %.100v, want %d bytes from %s", m, len(data), from.ShortString())
	}
}

// page is the browser's client.
type page struct {
	*Page
	ctx context.Context
	key key.NodePublic
}

// frame is a DERP frame as the page hands it on.
type frame struct {
	Type    int
	Payload string // hexadecimal
}

// end is how a WebSocket ended, as the page sees it.
type end struct {
	Code   int
	Reason string
	Clean  bool
}

func (p *page) call(t *testing.T, result any, function string, args ...any) {
	t.Helper()
	if err := p.Call(p.ctx, result, function, args...); err != nil {
		t.Fatal(err)
	}
}

// send sends packets as one stream in messages of cut bytes; 0: in one message.
func (p *page) send(t *testing.T, to key.NodePublic, cut int, packets ...[]byte) {
	t.Helper()
	var digits []string
	for _, b := range packets {
		digits = append(digits, hex.EncodeToString(b))
	}
	p.call(t, nil, "send", hex.EncodeToString(to.AppendTo(nil)), digits, cut)
}

func (p *page) wantFrame(t *testing.T, typ derp.FrameType, payload []byte) {
	t.Helper()
	var f frame
	p.call(t, &f, "next")
	if f.Type != int(typ) || f.Payload != hex.EncodeToString(payload) {
		t.Fatalf("the page got frame %#x, %.80s, want %#x, %.40x", f.Type, f.Payload,
			byte(typ), payload)
	}
}

func (p *page) wantPacket(t *testing.T, from key.NodePublic, data []byte) {
	t.Helper()
	p.wantFrame(t, derp.FrameRecvPacket, slices.Concat(from.AppendTo(nil), data))
}

func (p *page) wantEnd(t *testing.T, code int) {
	t.Helper()
	var e end
	p.call(t, &e, "closed")
	if e.Code != code || !e.Clean {
		t.Fatalf("the page's WebSocket ended with %+v, want a clean %d", e, code)
	}
}

func parseKey(t *testing.T, digits string) key.NodePublic {
	t.Helper()
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != 32 {
		t.Fatalf("%q is no key", digits)
	}
	return key.NodePublicFromRaw32(mem.B(b))
}
