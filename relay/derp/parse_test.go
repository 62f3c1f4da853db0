package derp

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestParsePackets(t *testing.T) {
	a, b := seqKey(0), seqKey(0x40)
	frame := AppendSendPacket(nil, a, []byte("hi"))
	to, packet, err := ParseSendPacket(frame[HeaderLen:])
	if to != a || string(packet) != "hi" || err != nil {
		t.Errorf("SendPacket: %v, %q, %v", to, packet, err)
	}
	if &packet[0] != &frame[HeaderLen+KeyLen] {
		t.Error("the packet was copied")
	}
	src, packet, err := ParseRecvPacket(AppendRecvPacket(nil, b, []byte("hi"))[HeaderLen:])
	if src != b || string(packet) != "hi" || err != nil {
		t.Errorf("RecvPacket: %v, %q, %v", src, packet, err)
	}
	src, to, packet, err = ParseForwardPacket(
		AppendForwardPacket(nil, a, b, []byte("hi"))[HeaderLen:])
	if src != a || to != b || string(packet) != "hi" || err != nil {
		t.Errorf("ForwardPacket: %v, %v, %q, %v", src, to, packet, err)
	}
}

func TestParseRefusesLengths(t *testing.T) {
	send := func(b []byte) error { _, _, err := ParseSendPacket(b); return err }
	recv := func(b []byte) error { _, _, err := ParseRecvPacket(b); return err }
	forward := func(b []byte) error { _, _, _, err := ParseForwardPacket(b); return err }
	prefer := func(b []byte) error { _, err := ParseNotePreferred(b); return err }
	gone := func(b []byte) error { _, _, err := ParsePeerGone(b); return err }
	present := func(b []byte) error { _, err := ParsePeerPresent(b); return err }
	closePeer := func(b []byte) error { _, err := ParseClosePeer(b); return err }
	greeting := func(b []byte) error { _, err := ParseServerKey(b); return err }
	ping := func(b []byte) error { _, err := ParsePing(b); return err }
	pong := func(b []byte) error { _, err := ParsePong(b); return err }
	health := func(b []byte) error { _, err := ParseHealth(b); return err }
	restarting := func(b []byte) error { _, err := ParseRestarting(b); return err }
	payload := make([]byte, MaxFromServer+1)
	for _, tt := range []struct {
		frame FrameType
		n     int
		parse func(b []byte) error
	}{
		{FrameSendPacket, 31, send},
		{FrameSendPacket, 65569, send},
		{FrameRecvPacket, 31, recv},
		{FrameForwardPacket, 63, forward},
		{FrameForwardPacket, 65601, forward},
		{FrameNotePreferred, 0, prefer},
		{FrameNotePreferred, 2, prefer},
		{FramePeerGone, 31, gone},
		{FramePeerPresent, 31, present},
		{FrameClosePeer, 31, closePeer},
		{FrameClosePeer, 33, closePeer},
		{FrameServerKey, 39, greeting},
		{FrameServerKey, 1025, greeting},
		{FramePing, 7, ping},
		{FramePing, 1001, ping},
		{FramePong, 7, pong},
		{FrameHealth, MaxFromServer + 1, health},
		{FrameRestarting, 7, restarting},
	} {
		var le *LengthError
		if err := tt.parse(payload[:tt.n]); !errors.As(err, &le) || le.Frame != tt.frame ||
			le.Got != tt.n {
			t.Errorf("%v with %d bytes: %v", tt.frame, tt.n, err)
		}
	}
}

func TestParsePeerGone(t *testing.T) {
	a := seqKey(0)
	for _, tt := range []struct {
		payload string
		want    GoneReason
		name    string
	}{
		{seq00, GoneDisconnected, "disconnected"}, // the form without a reason
		{seq00 + "00", GoneDisconnected, "disconnected"},
		{seq00 + "01", GoneNotHere, "not_here"},
		{seq00 + "01ffff", GoneNotHere, "not_here"},
		{seq00 + "f0", 0xf0, "reason_0xf0"},
	} {
		k, r, err := ParsePeerGone(unhex(t, tt.payload))
		if k != a || r != tt.want || r.String() != tt.name || err != nil {
			t.Errorf("%s: %v, %v, %v", tt.payload, k, r, err)
		}
	}
}

func TestParsePeerPresent(t *testing.T) {
	a := seqKey(0)
	v4 := netip.MustParseAddrPort("192.0.2.1:41641")
	const ip4 = "00000000000000000000ffffc0000201a2a9"
	for _, tt := range []struct {
		name, payload string
		want          PeerPresent
	}{
		{"key only", seq00, PeerPresent{Key: a}},
		{"address cut off", seq00 + ip4[:34], PeerPresent{Key: a}},
		{"no flags", seq00 + ip4, PeerPresent{Key: a, Addr: v4}},
		{"1.102", seq00 + ip4 + "04", PeerPresent{Key: a, Addr: v4, Flags: PresentProber}},
		{"1.104", seq00 + ip4 + "08 02 6e6d",
			PeerPresent{Key: a, Addr: v4, Flags: PresentNotIdeal, AppName: "nm"}},
		{"1.104 without name", seq00 + ip4 + "01 00",
			PeerPresent{Key: a, Addr: v4, Flags: PresentRegular}},
		{"bytes behind the name", seq00 + ip4 + "01 01 6e ffff",
			PeerPresent{Key: a, Addr: v4, Flags: PresentRegular, AppName: "n"}},
		{"name cut off", seq00 + ip4 + "01 03 6e6d",
			PeerPresent{Key: a, Addr: v4, Flags: PresentRegular}},
		{"name with a newline", seq00 + ip4 + "01 02 6e0a",
			PeerPresent{Key: a, Addr: v4, Flags: PresentRegular}},
		{"unknown address", seq00 + strings.Repeat("00", 18) + "02",
			PeerPresent{Key: a, Flags: PresentMeshPeer}},
		{"IPv6", seq00 + "20010db8000000000000000000000001 01bb 01",
			PeerPresent{Key: a, Addr: netip.MustParseAddrPort("[2001:db8::1]:443"), Flags: 1}},
	} {
		if got, err := ParsePeerPresent(unhex(t, tt.payload)); got != tt.want || err != nil {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}

func TestAppendPeerPresentCutsName(t *testing.T) {
	b := AppendPeerPresent(nil, PeerPresent{AppName: strings.Repeat("n", 300)})
	if _, n, _ := Header(b); n != 52+255 || len(b) != HeaderLen+n || b[HeaderLen+51] != 255 {
		t.Errorf("%d bytes, header says %d, name %d", len(b), n, b[HeaderLen+51])
	}
}

func TestParseControls(t *testing.T) {
	ping := append([]byte("12345678"), make([]byte, 992)...)
	if data, err := ParsePing(ping); string(data[:]) != "12345678" || err != nil {
		t.Errorf("Ping: %q, %v", data, err)
	}
	if data, err := ParsePong([]byte("12345678")); string(data[:]) != "12345678" || err != nil {
		t.Errorf("Pong: %q, %v", data, err)
	}
	if s, err := ParseHealth([]byte("ill")); s != "ill" || err != nil {
		t.Errorf("Health: %q, %v", s, err)
	}
	for b, want := range map[byte]bool{0: false, 1: true, 0xff: true} {
		if got, err := ParseNotePreferred([]byte{b}); got != want || err != nil {
			t.Errorf("NotePreferred %d: %v, %v", b, got, err)
		}
	}
	if k, err := ParseClosePeer(unhex(t, seq40)); k != seqKey(0x40) || err != nil {
		t.Errorf("ClosePeer: %v, %v", k, err)
	}
}

func TestRestartingClamps(t *testing.T) {
	const longest = (1<<32 - 1) * time.Millisecond
	for _, tt := range []struct{ in, want Restarting }{
		{Restarting{1500 * time.Microsecond, 2 * time.Second},
			Restarting{time.Millisecond, 2 * time.Second}},
		{Restarting{-1, 1 << 62}, Restarting{0, longest}},
		{Restarting{longest, longest + time.Second}, Restarting{longest, longest}},
	} {
		got, err := ParseRestarting(AppendRestarting(nil, tt.in)[HeaderLen:])
		if got != tt.want || err != nil {
			t.Errorf("%v became %v, %v", tt.in, got, err)
		}
	}
}

func TestParseServerKey(t *testing.T) {
	good := AppendServerKey(nil, seqKey(0))[HeaderLen:]
	for _, payload := range [][]byte{good, append(good[:40:40], "future"...)} {
		if k, err := ParseServerKey(payload); k != seqKey(0) || err != nil {
			t.Errorf("%d bytes: %v, %v", len(payload), k, err)
		}
	}
	good[7] ^= 1
	if _, err := ParseServerKey(good); err != ErrMagic {
		t.Errorf("wrong magic: %v", err)
	}
}

func TestInPlace(t *testing.T) {
	a, b := seqKey(0), seqKey(0x40)
	for _, packet := range []string{"", "p", strings.Repeat("p", MaxPacket)} {
		want := string(AppendRecvPacket(nil, a, []byte(packet)))
		send := AppendSendPacket(nil, b, []byte(packet))
		SendToRecv(send, a)
		if string(send) != want {
			t.Errorf("SendToRecv of %d bytes is wrong", len(packet))
		}
		forward := AppendForwardPacket(nil, a, b, []byte(packet))
		if recv := ForwardToRecv(forward); string(recv) != want {
			t.Errorf("ForwardToRecv of %d bytes is wrong", len(packet))
		}
	}
}

func TestLooksLikeDisco(t *testing.T) {
	disco := append(unhex(t, "5453f09f92ac"), make([]byte, 56)...)
	if !LooksLikeDisco(disco) || !LooksLikeDisco(append(disco, 1)) {
		t.Error("disco is not recognised")
	}
	if LooksLikeDisco(disco[:61]) {
		t.Error("61 bytes are too few for disco")
	}
	for i := range 6 {
		other := append([]byte(nil), disco...)
		other[i] ^= 1
		if LooksLikeDisco(other) {
			t.Errorf("byte %d of the magic does not count", i)
		}
	}
	if LooksLikeDisco(nil) {
		t.Error("an empty packet is taken for disco")
	}
}
