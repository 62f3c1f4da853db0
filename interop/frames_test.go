package interop

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"derpd/interop/harness"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// frameUnknown is a type that no version of the protocol defines.
const frameUnknown = derp.FrameType(0x7f)

// payloadMax is the largest body of any frame a client may send: a key and a packet.
const payloadMax = 32 + derp.MaxPacketSize

// bystander logs a pair in whose traffic must not notice what the test does; check proves it.
func bystander(t *testing.T, r *harness.Relay) (check func()) {
	t.Helper()
	a, b := r.Login(t), r.Login(t)
	return func() {
		t.Helper()
		a.SendTo(t, b.Key, []byte("undisturbed"))
		b.WantPacket(t, a.Key, []byte("undisturbed"))
		b.Ping(t)
		a.Ping(t)
	}
}

func TestUnknownFramesAreIgnored(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		p := r.Login(t)
		for _, n := range []int{0, 1, 8, 5000, 16384, payloadMax} {
			p.WriteFrame(t, frameUnknown, make([]byte, n))
			p.Ping(t)
		}
		for _, typ := range []derp.FrameType{
			derp.FrameServerKey, derp.FrameClientInfo, derp.FrameServerInfo,
			derp.FrameRecvPacket, derp.FrameKeepAlive, derp.FramePeerGone,
			derp.FramePeerPresent, derp.FramePong, derp.FrameHealth, derp.FrameRestarting,
		} {
			p.WriteFrame(t, typ, make([]byte, 40)) // only a server's to send, or answers
			p.Ping(t)
		}
	})
}

func TestPingLengths(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{})
	p := r.Login(t)
	for _, n := range []int{8, 9, 1000} {
		body := bytes.Repeat([]byte{byte(n)}, n)
		p.WriteFrame(t, derp.FramePing, body)
		if m := p.Next(t); m != derp.PongMessage(body[:8]) {
			t.Errorf("ping of %d bytes: %T %v", n, m, m)
		}
	}
}

// wrongFrames are what an ordinary client may not send: each ends its connection.
var wrongFrames = []struct {
	name string
	typ  derp.FrameType
	body int // bytes
}{
	{"SendPacket without a whole key", derp.FrameSendPacket, 31},
	{"SendPacket, empty", derp.FrameSendPacket, 0},
	{"SendPacket, too long", derp.FrameSendPacket, payloadMax + 1},
	{"Ping, too short", derp.FramePing, 7},
	{"Ping, too long", derp.FramePing, 1001},
	{"NotePreferred, empty", derp.FrameNotePreferred, 0},
	{"NotePreferred, too long", derp.FrameNotePreferred, 2},
	{"WatchConns without a mesh key", derp.FrameWatchConns, 0},
	{"ClosePeer without a mesh key", derp.FrameClosePeer, 32},
	{"ForwardPacket without a mesh key", derp.FrameForwardPacket, 100},
}

func TestWrongFramesCloseTheConnection(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		check := bystander(t, r)
		for _, wrong := range wrongFrames {
			p := r.Login(t)
			p.WriteFrame(t, wrong.typ, make([]byte, wrong.body))
			p.WantClosed(t)
			check()
		}
		r.WaitMetric(t, "derp_current_connections", harness.Is(2))
	})
}

// An unknown frame longer than any known one is no future extension but a broken stream.
func TestUnknownFrameTooLong(t *testing.T) {
	t.Parallel()
	if harness.Under() == harness.Derper {
		t.Skip("derper 1.102 reads up to 4 GiB")
	}
	r := harness.Start(t, harness.Options{})
	check := bystander(t, r)
	for _, claimed := range []uint32{payloadMax + 1, 1<<32 - 1} {
		p := r.Login(t)
		header := []byte{byte(frameUnknown),
			byte(claimed >> 24), byte(claimed >> 16), byte(claimed >> 8), byte(claimed)}
		if _, err := p.Conn.Write(header); err != nil {
			t.Fatal(err)
		}
		p.WantClosed(t)
		check()
	}
}

// wrongLogins are first frames that are no login.
var wrongLogins = []struct {
	name  string
	write func(t *testing.T, bw *bufio.Writer, server key.NodePublic)
}{
	{"another frame", func(t *testing.T, bw *bufio.Writer, _ key.NodePublic) {
		derp.WriteFrame(bw, derp.FramePing, make([]byte, 8))
	}},
	{"no frame", func(t *testing.T, bw *bufio.Writer, _ key.NodePublic) {
		bw.WriteString("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		bw.Flush()
	}},
	{"ClientInfo too short", func(t *testing.T, bw *bufio.Writer, _ key.NodePublic) {
		derp.WriteFrame(bw, derp.FrameClientInfo, make([]byte, 55))
	}},
	{"ClientInfo too long", func(t *testing.T, bw *bufio.Writer, _ key.NodePublic) {
		derp.WriteFrameHeader(bw, derp.FrameClientInfo, 256<<10+1)
		bw.Flush()
	}},
	{"a box that does not open", func(t *testing.T, bw *bufio.Writer, _ key.NodePublic) {
		k := key.NewNode()
		derp.WriteFrame(bw, derp.FrameClientInfo, append(k.Public().AppendTo(nil),
			make([]byte, 100)...))
	}},
	{"a box for another server", func(t *testing.T, bw *bufio.Writer, _ key.NodePublic) {
		writeClientInfo(t, bw, key.NewNode(), key.NewNode().Public(), `{"version":2}`)
	}},
	{"no JSON", func(t *testing.T, bw *bufio.Writer, server key.NodePublic) {
		writeClientInfo(t, bw, key.NewNode(), server, `version=2`)
	}},
	{"an empty mesh key", func(t *testing.T, bw *bufio.Writer, server key.NodePublic) {
		writeClientInfo(t, bw, key.NewNode(), server, `{"version":2,"meshKey":""}`)
	}},
	{"a key of zeros", func(t *testing.T, bw *bufio.Writer, server key.NodePublic) {
		derp.WriteFrame(bw, derp.FrameClientInfo, make([]byte, 32+24+16+13))
	}},
}

func TestWrongLogins(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		check := bystander(t, r)
		server := r.Login(t).ServerPublicKey()
		for _, wrong := range wrongLogins {
			t.Log(wrong.name)
			c := r.Dial(t)
			br, bw := bufio.NewReader(c), bufio.NewWriter(c)
			bw.WriteString(fastRequest)
			bw.Flush()
			wantServerKey(t, br)
			wrong.write(t, bw, server)
			harness.WantClosed(t, c, harness.ReplyWaitMax)
			check()
		}
	})
}

// The JSON of a login is read leniently: case and unknown fields do not matter.
func TestLenientLogins(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{})
	server := r.Login(t).ServerPublicKey()
	for _, json := range []string{
		`{"version":2,"CanAckPings":true}`,
		`{"Version":2,"canackpings":true,"IsProber":true}`,
		`{"version":2,"fromTheFuture":[1,2,{"a":"b"}],"AppName":"interop"}`,
		`{}`,
	} {
		k, c := key.NewNode(), r.Dial(t)
		br, bw := bufio.NewReader(c), bufio.NewWriter(c)
		bw.WriteString(fastRequest)
		writeClientInfo(t, bw, k, server, json)
		wantServerKey(t, br)
		br.Discard(40)
		typ, _, err := derp.ReadFrameHeader(br)
		if err != nil || typ != derp.FrameServerInfo {
			t.Errorf("%s: frame %#x, %v; want ServerInfo", json, byte(typ), err)
		}
	}
}

// loginWithoutReading logs in over TCP or TLS with fast start, sends one packet to dst, and
// reads nothing but what the TLS handshake needs.
func loginWithoutReading(
	t *testing.T, r *harness.Relay, c net.Conn, k key.NodePrivate, server, dst key.NodePublic,
) {
	t.Helper()
	c.SetDeadline(time.Now().Add(harness.ReplyWaitMax))
	if r.TLS {
		tc := tls.Client(c, r.TLSConfig())
		if err := tc.Handshake(); err != nil {
			t.Fatal(err)
		}
		c = tc
	}
	bw := bufio.NewWriter(c)
	bw.WriteString(fastRequest)
	writeClientInfo(t, bw, k, server, `{"version":2}`)
	body := append(dst.AppendTo(nil), "about to freeze"...)
	if err := derp.WriteFrame(bw, derp.FrameSendPacket, body); err != nil {
		t.Fatal(err)
	}
}
