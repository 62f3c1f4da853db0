package derp

import (
	"net/netip"
	"testing"
)

// What runs for every frame, and what can run for every login answer, must not allocate.
func TestNoAllocations(t *testing.T) {
	buf := make([]byte, 0, 2048)
	packet := make([]byte, 1400)
	a, b := seqKey(0), seqKey(0x40)
	send := AppendSendPacket(nil, a, packet)
	present := PeerPresent{Key: a, Addr: netip.MustParseAddrPort("192.0.2.1:1"), AppName: "nm"}
	shared := Shared(a)
	private := PrivateKey(b)
	var sink int
	for _, tt := range []struct {
		name string
		f    func()
	}{
		{"Header", func() { _, n, _ := Header(send); sink += n }},
		{"CheckLen", func() {
			if CheckLen(FrameSendPacket, 1432, FromClient) != nil {
				sink++
			}
		}},
		{"PutHeader", func() { PutHeader(buf[:HeaderLen], FramePing, 8) }},
		{"ParseSendPacket", func() {
			_, p, _ := ParseSendPacket(send[HeaderLen:])
			sink += len(p)
		}},
		{"SendToRecv", func() { SendToRecv(send, b) }},
		{"ForwardToRecv", func() {
			sink += len(ForwardToRecv(AppendForwardPacket(buf, a, b, packet)))
		}},
		{"LooksLikeDisco", func() {
			if LooksLikeDisco(packet) {
				sink++
			}
		}},
		{"AppendPackets", func() {
			AppendSendPacket(buf, a, packet)
			AppendRecvPacket(buf, a, packet)
			AppendForwardPacket(buf, a, b, packet)
		}},
		{"AppendControls", func() {
			out := AppendKeepAlive(AppendPong(AppendPing(buf, [PingLen]byte{}), [PingLen]byte{}))
			out = AppendNotePreferred(AppendPeerGone(out, a, GoneNotHere), true)
			out = AppendPeerPresentShort(AppendPeerPresent(out, present), present)
			out = AppendRestarting(AppendHealth(out, "ill"), Restarting{1, 2})
			out = AppendServerKey(AppendClosePeer(AppendWatchConns(out), a), b)
			sink += len(out)
		}},
		{"ParseControls", func() {
			ParsePing(packet[:8])
			ParseNotePreferred(packet[:1])
			ParseForwardPacket(packet)
			ParsePeerGone(packet)
		}},
		{"AppendServerInfo", func() {
			shared.AppendServerInfo(buf, ServerInfo{Version: 2}, testNonce)
		}},
		{"Shared", func() { private.Shared(a) }},
	} {
		if n := testing.AllocsPerRun(20, tt.f); n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
	if sink == 0 {
		t.Error("nothing ran")
	}
}

func BenchmarkOpenClientInfo(b *testing.B) {
	server, client := newKey(b), newKey(b)
	login := sealedLogin(client, server.Public(), `{"version":2,"CanAckPings":true}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := OpenClientInfo(server, login); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendServerInfo(b *testing.B) {
	shared := Shared(seqKey(1))
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		shared.AppendServerInfo(buf, ServerInfo{Version: ProtocolVersion}, testNonce)
	}
}

// BenchmarkFrame is the codec's share of relaying one packet in place.
func BenchmarkFrame(b *testing.B) {
	frame := AppendSendPacket(nil, seqKey(0), make([]byte, 1400))
	src := seqKey(1)
	b.ReportAllocs()
	for b.Loop() {
		frame[0] = byte(FrameSendPacket)
		t, n, _ := Header(frame)
		if CheckLen(t, n, FromClient) != nil || LooksLikeDisco(frame[HeaderLen+KeyLen:]) {
			b.Fatal("refused")
		}
		SendToRecv(frame, src)
	}
}
