package derp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// seqKey is the key of the bytes first, first+1, …
func seqKey(first byte) Key {
	var k Key
	for i := range k {
		k[i] = first + byte(i)
	}
	return k
}

const (
	seq00 = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	seq40 = "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f"
)

// Every frame against the bytes that the protocol prescribes, written out by hand.
func TestAppendLayouts(t *testing.T) {
	a, b := seqKey(0), seqKey(0x40)
	v4 := PeerPresent{Key: a, Addr: netip.MustParseAddrPort("192.0.2.1:41641"),
		Flags: PresentMeshPeer | PresentNotIdeal, AppName: "nm"}
	v6 := PeerPresent{Key: a, Addr: netip.MustParseAddrPort("[2001:db8::1]:443"),
		Flags: PresentRegular}
	ping := [PingLen]byte{1, 2, 3, 4, 5, 6, 7, 8}
	restarting := Restarting{ReconnectIn: 1500 * time.Millisecond, TryFor: time.Hour}
	for _, tt := range []struct {
		name  string
		frame []byte
		want  string
	}{
		{"ServerKey", AppendServerKey(nil, a), "01 00000028 44455250f09f9491" + seq00},
		{"SendPacket", AppendSendPacket(nil, a, []byte("hi")), "04 00000022" + seq00 + "6869"},
		{"SendPacket empty", AppendSendPacket(nil, a, nil), "04 00000020" + seq00},
		{"RecvPacket", AppendRecvPacket(nil, a, []byte("hi")), "05 00000022" + seq00 + "6869"},
		{"KeepAlive", AppendKeepAlive(nil), "06 00000000"},
		{"NotePreferred", AppendNotePreferred(nil, true), "07 00000001 01"},
		{"NotePreferred off", AppendNotePreferred(nil, false), "07 00000001 00"},
		{"PeerGone", AppendPeerGone(nil, a, GoneNotHere), "08 00000021" + seq00 + "01"},
		{"PeerPresent", AppendPeerPresent(nil, v4), "09 00000036" + seq00 +
			"00000000000000000000ffffc0000201 a2a9 0a 02 6e6d"},
		{"PeerPresent short", AppendPeerPresentShort(nil, v6), "09 00000033" + seq00 +
			"20010db8000000000000000000000001 01bb 01"},
		{"PeerPresent unknown address", AppendPeerPresentShort(nil, PeerPresent{Key: a}),
			"09 00000033" + seq00 + "00000000000000000000000000000000 0000 00"},
		{"ForwardPacket", AppendForwardPacket(nil, a, b, []byte("hi")),
			"0a 00000042" + seq00 + seq40 + "6869"},
		{"WatchConns", AppendWatchConns(nil), "10 00000000"},
		{"ClosePeer", AppendClosePeer(nil, b), "11 00000020" + seq40},
		{"Ping", AppendPing(nil, ping), "12 00000008 0102030405060708"},
		{"Pong", AppendPong(nil, ping), "13 00000008 0102030405060708"},
		{"Health", AppendHealth(nil, "ill"), "14 00000003 696c6c"},
		{"Restarting", AppendRestarting(nil, restarting), "15 00000008 000005dc 0036ee80"},
	} {
		want := unhex(t, tt.want)
		if !bytes.Equal(tt.frame, want) {
			t.Errorf("%s:\n got %x\nwant %x", tt.name, tt.frame, want)
		}
		typ, n, ok := Header(tt.frame)
		if !ok || n != len(tt.frame)-HeaderLen || !strings.HasPrefix(tt.name, typ.String()) {
			t.Errorf("%s: Header is %v, %d, %v", tt.name, typ, n, ok)
		}
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	b := AppendPing(AppendKeepAlive([]byte("x")), [PingLen]byte{})
	if want := unhex(t, "78 0600000000 1200000008 0000000000000000"); !bytes.Equal(b, want) {
		t.Errorf("got %x, want %x", b, want)
	}
}

func TestHeader(t *testing.T) {
	if _, _, ok := Header([]byte{4, 0, 0, 0}); ok {
		t.Error("4 bytes are taken for a header")
	}
	typ, n, ok := Header([]byte{0x7f, 0xff, 0xff, 0xff, 0xff})
	if typ != 0x7f || n != 1<<32-1 || !ok {
		t.Errorf("got %v, %d, %v", typ, n, ok)
	}
	var b [HeaderLen]byte
	PutHeader(b[:], FramePing, 0x01020304)
	if b != [HeaderLen]byte{0x12, 1, 2, 3, 4} {
		t.Errorf("PutHeader wrote %x", b)
	}
	if got := FrameType(0x7f).String(); got != "type 0x7f" {
		t.Errorf("an unknown type is called %q", got)
	}
	if got := FrameType(0x0b).String(); got != "type 0x0b" {
		t.Errorf("a type in the gap is called %q", got)
	}
}

func TestCheckLen(t *testing.T) {
	for _, tt := range []struct {
		frame    FrameType
		from     Side
		min, max int
	}{
		{FrameClientInfo, FromClient, 56, 262144},
		{FrameSendPacket, FromClient, 32, 65568},
		{FrameNotePreferred, FromClient, 1, 1},
		{FrameForwardPacket, FromClient, 64, 65600},
		{FrameWatchConns, FromClient, 0, 0},
		{FrameClosePeer, FromClient, 32, 32},
		{FramePing, FromClient, 8, 1000},
		{FramePong, FromClient, 0, 65568},
		{FrameServerKey, FromClient, 0, 65568},
		{FrameKeepAlive, FromClient, 0, 65568},
		{0, FromClient, 0, 65568},
		{0xff, FromClient, 0, 65568},
		{FrameServerKey, FromServer, 40, 1024},
		{FrameServerInfo, FromServer, 40, 1 << 20},
		{FrameRecvPacket, FromServer, 32, 1 << 20},
		{FrameKeepAlive, FromServer, 0, 1 << 20},
		{FramePeerGone, FromServer, 32, 1 << 20},
		{FramePeerPresent, FromServer, 32, 1 << 20},
		{FramePing, FromServer, 8, 1 << 20},
		{FramePong, FromServer, 8, 1 << 20},
		{FrameHealth, FromServer, 0, 1 << 20},
		{FrameRestarting, FromServer, 8, 1 << 20},
		{FrameWatchConns, FromServer, 0, 1 << 20},
		{0xff, FromServer, 0, 1 << 20},
	} {
		for _, n := range []int{tt.min, tt.max} {
			if err := CheckLen(tt.frame, n, tt.from); err != nil {
				t.Errorf("%v with %d bytes: %v", tt.frame, n, err)
			}
		}
		for _, n := range []int{tt.min - 1, tt.max + 1, 1<<32 - 1} {
			var le *LengthError
			if !errors.As(CheckLen(tt.frame, n, tt.from), &le) || le.Frame != tt.frame ||
				le.Got != n || le.Min != tt.min || le.Max != tt.max {
				t.Errorf("%v with %d bytes: %+v", tt.frame, n, le)
			}
		}
	}
	if err := CheckUnknown(FrameClientInfo, MaxUnknown); err != nil {
		t.Error(err)
	}
	for _, n := range []int{-1, MaxUnknown + 1} {
		var le *LengthError
		if !errors.As(CheckUnknown(FrameClientInfo, n), &le) || le.Max != MaxUnknown {
			t.Errorf("%d bytes to discard are allowed", n)
		}
	}
}

func TestLengthErrorText(t *testing.T) {
	for _, tt := range []struct {
		err  LengthError
		want string
	}{
		{LengthError{FrameClosePeer, 3, 32, 32},
			"derp: ClosePeer frame with 3 bytes of payload, want 32"},
		{LengthError{FramePing, 1001, 8, 1000},
			"derp: Ping frame with 1001 bytes of payload, want 8 to 1000"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
