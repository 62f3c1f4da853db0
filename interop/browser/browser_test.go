package browser

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"derpd/interop/harness"

	"tailscale.com/derp"
)

// A page of a real browser logs in and talks to Tailscale's own client, over ws and wss.
func TestBrowser(t *testing.T) {
	if os.Getenv("BROWSER") != "1" {
		t.Skip("needs Chromium, npm and 10 s: BROWSER=1 go test ./browser")
	}
	nacl := Install(t)
	harness.Build(t, string(harness.Under()))
	ctx, cancel := context.WithTimeout(t.Context(), SceneMax)
	defer cancel()
	plain := harness.Start(t, harness.Options{})
	secure := harness.Start(t, harness.Options{TLS: true})
	s := stage{ctx, Start(t, secure), Serve(t, nacl)}
	t.Run("ws", func(t *testing.T) { s.run(t, plain) })
	t.Run("wss", func(t *testing.T) { s.run(t, secure) })
}

// stage is what the scenes share.
type stage struct {
	ctx     context.Context
	browser *Browser
	url     string // of the page
}

func (s stage) run(t *testing.T, r *harness.Relay) {
	scenes := []struct {
		name string
		play func(*testing.T, stage, *harness.Relay)
	}{
		{"packets", playPackets},
		{"boundaries", playBoundaries},
		{"goodbye", playGoodbye},
		{"text", playText},
		{"tab closed", playTabClosed},
	}
	played := 0 // -run may choose
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			played++
			scene.play(t, s, r)
		})
	}
	r.WaitMetric(t, "derp_current_connections", harness.Is(0))
	if n := r.Metrics(t).Sum("derp_websocket_accepts"); n != float64(played) {
		t.Errorf("derp_websocket_accepts is %v after %d logins", n, played)
	}
}

// login opens a tab, logs in from it, and opens a native client beside it.
func (s stage) login(t *testing.T, r *harness.Relay) (*page, *native) {
	t.Helper()
	tab, err := s.browser.Open(s.ctx, s.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tab.Close(context.WithoutCancel(s.ctx)) })
	p := &page{Page: tab, ctx: s.ctx}
	n := newNative(s.ctx, t, r)

	var opened struct{ Protocol, Extensions string }
	p.call(t, &opened, "open", "ws"+strings.TrimPrefix(r.URL("/derp"), "http"))
	if opened.Protocol != "derp" || opened.Extensions != "" {
		t.Errorf("agreed on protocol %q and extensions %q, want derp and none",
			opened.Protocol, opened.Extensions)
	}
	var in struct {
		Server, Self string
		Info         struct{ Version int }
	}
	p.call(t, &in, "login")
	if server := parseKey(t, in.Server); server != n.ServerPublicKey() {
		t.Errorf("the page sees server key %v, the native client %v", server, n.ServerPublicKey())
	}
	if in.Info.Version != derp.ProtocolVersion {
		t.Errorf("ServerInfo tells version %d", in.Info.Version)
	}
	p.key = parseKey(t, in.Self)
	return p, n
}

func playPackets(t *testing.T, s stage, r *harness.Relay) {
	p, n := s.login(t, r)
	for _, size := range []int{0, 1, 100, 1400, 16384, 32000} {
		there, back := pattern(size, 3), pattern(size, 5)
		p.send(t, n.SelfPublicKey(), 0, there)
		n.wantPacket(s.ctx, t, p.key, there)
		if err := n.Send(p.key, back); err != nil {
			t.Fatal(err)
		}
		p.wantPacket(t, n.SelfPublicKey(), back)
	}
	p.call(t, nil, "sendPing", "0102030405060708")
	p.wantFrame(t, derp.FramePong, []byte{1, 2, 3, 4, 5, 6, 7, 8})
}

// DERP is a stream: where messages begin and end says nothing.
func playBoundaries(t *testing.T, s stage, r *harness.Relay) {
	p, n := s.login(t, r)
	large := pattern(derp.MaxPacketSize, 7)
	for _, cut := range []int{1000, 16384, 32768} {
		p.send(t, n.SelfPublicKey(), cut, large)
		n.wantPacket(s.ctx, t, p.key, large)
	}
	for _, cut := range []int{0, 1, 37, 700} { // 20 packets in one message, and in many
		var packets [][]byte
		for i := range 20 {
			packets = append(packets, pattern(i*3, i))
		}
		p.send(t, n.SelfPublicKey(), cut, packets...)
		for _, packet := range packets {
			n.wantPacket(s.ctx, t, p.key, packet)
		}
	}
	if err := n.Send(p.key, large); err != nil {
		t.Fatal(err)
	}
	p.wantPacket(t, n.SelfPublicKey(), large)

	if harness.Under() != harness.Derpd {
		return // derper takes and sends messages of any length, up to where a library stops it
	}
	p.send(t, n.SelfPublicKey(), 0, large)
	n.wantPacket(s.ctx, t, p.key, large)
	var largest int
	p.call(t, &largest, "largestMessage")
	if largest > 32<<10 {
		t.Errorf("a message of %d bytes, more than Tailscale's client in a browser takes", largest)
	}
}

// The page says goodbye and is answered; who had packets of it hears that it is gone.
func playGoodbye(t *testing.T, s stage, r *harness.Relay) {
	p, n := s.login(t, r)
	p.send(t, n.SelfPublicKey(), 0, []byte("hello"))
	n.wantPacket(s.ctx, t, p.key, []byte("hello"))
	p.call(t, nil, "close", 1000, "done")
	p.wantEnd(t, 1000)
	if m := n.next(s.ctx, t); m != (derp.PeerGoneMessage{Peer: p.key}) {
		t.Errorf("the native client got %T %v, want PeerGone of the page", m, m)
	}
}

func playText(t *testing.T, s stage, r *harness.Relay) {
	p, _ := s.login(t, r)
	p.call(t, nil, "text", "no DERP")
	p.wantEnd(t, 1003) // unsupported data
}

// The page hears that its peer has left, and its peer that the tab has been closed.
func playTabClosed(t *testing.T, s stage, r *harness.Relay) {
	p, n := s.login(t, r)
	other := newNative(s.ctx, t, r)
	if err := other.Send(p.key, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	p.wantPacket(t, other.SelfPublicKey(), []byte("hello"))
	other.Close()
	p.wantFrame(t, derp.FramePeerGone, append(other.SelfPublicKey().AppendTo(nil), 0))

	p.send(t, n.SelfPublicKey(), 0, []byte("last words"))
	n.wantPacket(s.ctx, t, p.key, []byte("last words"))
	if err := p.Close(s.ctx); err != nil {
		t.Fatal(err)
	}
	if m := n.next(s.ctx, t); m != (derp.PeerGoneMessage{Peer: p.key}) {
		t.Errorf("the native client got %T %v, want PeerGone of the page", m, m)
	}
}

// pattern returns n bytes that tell their place.
func pattern(n, seed int) []byte {
	b := bytes.Repeat([]byte{byte(seed)}, n)
	for i := range b {
		b[i] += byte(i) ^ byte(i>>8)
	}
	return b
}
