package derp

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/nacl/box"
)

var testNonce = [NonceLen]byte{1, 2, 3, 23: 24}

// sealedLogin makes a ClientInfo payload of any plaintext with nacl/box.
func sealedLogin(client PrivateKey, server Key, msg string) []byte {
	public := client.Public()
	b := append(append([]byte(nil), public[:]...), testNonce[:]...)
	return box.Seal(b, []byte(msg), &testNonce, (*[32]byte)(&server), (*[32]byte)(&client))
}

func TestSharedIsPrecompute(t *testing.T) {
	for range 50 {
		p, peer := newKey(t), newKey(t).Public()
		var want [32]byte
		box.Precompute(&want, (*[32]byte)(&peer), (*[32]byte)(&p))
		if got, err := p.Shared(peer); got != want || err != nil {
			t.Fatalf("Shared is not what nacl/box computes: %v", err)
		}
	}
}

// The points of order 1, 2, 4 and 8 and their other encodings (RFC 7748 §7): whoever sends
// one knows the secret beforehand.
var lowOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"0100000000000000000000000000000000000000000000000000000000000080",
}

func TestLowOrderIsRefused(t *testing.T) {
	server, client := newKey(t), newKey(t)
	for _, digits := range lowOrder {
		peer := Key(unhex(t, digits))
		if _, err := server.Shared(peer); !errors.Is(err, ErrLowOrder) {
			t.Errorf("%s: Shared says %v", digits, err)
		}
		payload := append(peer[:], make([]byte, 80)...)
		if _, _, _, err := OpenClientInfo(server, payload); !errors.Is(err, ErrLowOrder) {
			t.Errorf("%s: OpenClientInfo says %v", digits, err)
		}
		_, _, err := AppendClientInfo(nil, client, peer, ClientInfo{}, testNonce)
		if !errors.Is(err, ErrLowOrder) {
			t.Errorf("%s: AppendClientInfo says %v", digits, err)
		}
	}
}

// Our client, nacl/box as the server; then nacl/box as the client, we the server.
func TestLoginAgainstNaCl(t *testing.T) {
	server, client := newKey(t), newKey(t)
	serverKey, clientKey := server.Public(), client.Public()
	info := ClientInfo{MeshKey: MeshKey(seqKey(9)), Version: ProtocolVersion,
		CanAckPings: true, IsProber: true, AppName: "nm"}

	frame, shared, err := AppendClientInfo([]byte("x"), client, serverKey, info, testNonce)
	if err != nil {
		t.Fatal(err)
	}
	typ, n, _ := Header(frame[1:])
	payload := frame[1+HeaderLen:]
	if frame[0] != 'x' || typ != FrameClientInfo || n != len(payload) {
		t.Fatalf("header %v, %d; payload %d", typ, n, len(payload))
	}
	if Key(payload) != clientKey || [NonceLen]byte(payload[KeyLen:]) != testNonce {
		t.Error("the login does not begin with key and nonce")
	}
	msg, ok := box.Open(nil, payload[MinClientInfo:], &testNonce, (*[32]byte)(&clientKey),
		(*[32]byte)(&server))
	want, err := json.Marshal(info)
	if err != nil || !ok || !bytes.Equal(msg, want) {
		t.Errorf("nacl/box opens %q, %v; want %q", msg, ok, want)
	}

	login := sealedLogin(client, serverKey, string(want))
	key, got, serverShared, err := OpenClientInfo(server, login)
	if err != nil || key != clientKey || got != info || serverShared != shared {
		t.Fatalf("got %v, %+v, %v", key, got, err)
	}

	answer := ServerInfo{Version: 2, TokenBucketBytesPerSecond: 1000, TokenBucketBytesBurst: 2000}
	frame = serverShared.AppendServerInfo([]byte("x"), answer, testNonce)
	typ, n, _ = Header(frame[1:])
	payload = frame[1+HeaderLen:]
	if frame[0] != 'x' || typ != FrameServerInfo || n != len(payload) {
		t.Fatalf("header %v, %d; payload %d", typ, n, len(payload))
	}
	msg, ok = box.Open(nil, payload[NonceLen:], &testNonce, (*[32]byte)(&serverKey),
		(*[32]byte)(&client))
	want = []byte(`{"version":2,"TokenBucketBytesPerSecond":1000,"TokenBucketBytesBurst":2000}`)
	if !ok || !bytes.Equal(msg, want) {
		t.Errorf("nacl/box opens %q, %v", msg, ok)
	}
	if back, err := shared.OpenServerInfo(payload); back != answer || err != nil {
		t.Errorf("our client opens %+v, %v", back, err)
	}
}

func TestOpenClientInfoRefuses(t *testing.T) {
	server, client := newKey(t), newKey(t)
	good := sealedLogin(client, server.Public(), `{"version":2}`)
	if _, _, _, err := OpenClientInfo(server, good); err != nil {
		t.Fatal(err)
	}
	for i := KeyLen; i < len(good); i++ { // nonce, authenticator and text
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x10
		if _, _, _, err := OpenClientInfo(server, bad); !errors.Is(err, ErrBox) {
			t.Fatalf("byte %d altered: %v", i, err)
		}
	}
	for _, n := range []int{MinClientInfo, MinClientInfo + 15} {
		if _, _, _, err := OpenClientInfo(server, good[:n]); !errors.Is(err, ErrBox) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	key, _, _, err := OpenClientInfo(newKey(t), good)
	if !errors.Is(err, ErrBox) || key != client.Public() {
		t.Errorf("box for another server: %v, %v", key, err)
	}
	for _, b := range [][]byte{nil, good[:MinClientInfo-1], make([]byte, MaxClientInfo+1)} {
		var le *LengthError
		if _, _, _, err := OpenClientInfo(server, b); !errors.As(err, &le) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
}

func TestClientInfoJSON(t *testing.T) {
	server, client := newKey(t), newKey(t)
	mesh := MeshKey(seqKey(0))
	for _, tt := range []struct {
		json string
		want ClientInfo
		err  error
	}{
		{`{}`, ClientInfo{}, nil},
		{`null`, ClientInfo{}, nil},
		{`{"version":2,"CanAckPings":true}`, ClientInfo{Version: 2, CanAckPings: true}, nil},
		{`{"Version":2,"canackpings":true,"ISPROBER":true,"appname":"x"}`,
			ClientInfo{Version: 2, CanAckPings: true, IsProber: true, AppName: "x"}, nil},
		{`{"meshKey":"` + seq00 + `"}`, ClientInfo{MeshKey: mesh}, nil},
		{`{"MeshKey":"` + strings.ToUpper(seq00) + `"}`, ClientInfo{MeshKey: mesh}, nil},
		{`{"new":[1,{"x":2}],"version":3}`, ClientInfo{Version: 3}, nil},
		{`{"AppName":" ~` + strings.Repeat("x", 30) + `"}`,
			ClientInfo{AppName: " ~" + strings.Repeat("x", 30)}, nil},
		{`{"meshKey":""}`, ClientInfo{}, ErrInfoJSON},
		{`{"meshKey":null}`, ClientInfo{}, ErrInfoJSON},
		{`{"meshKey":7}`, ClientInfo{}, ErrInfoJSON},
		{`{"meshKey":"` + seq00[1:] + `"}`, ClientInfo{}, ErrInfoJSON},
		{`{"meshKey":" ` + seq00 + `"}`, ClientInfo{}, ErrInfoJSON},
		{`{"meshKey":"` + seq00[1:] + `g"}`, ClientInfo{}, ErrInfoJSON},
		{`{"version":"2"}`, ClientInfo{}, ErrInfoJSON},
		{`{"version":2`, ClientInfo{}, ErrInfoJSON},
		{`{"version":2} x`, ClientInfo{}, ErrInfoJSON},
		{``, ClientInfo{}, ErrInfoJSON},
		{`{"AppName":"` + strings.Repeat("x", 33) + `"}`, ClientInfo{}, ErrAppName},
		{`{"AppName":"a\u007f"}`, ClientInfo{}, ErrAppName},
		{`{"AppName":"a\n"}`, ClientInfo{}, ErrAppName},
		{`{"AppName":"ä"}`, ClientInfo{}, ErrAppName},
		{"{\"AppName\":\"\xff\"}", ClientInfo{}, ErrAppName},
	} {
		key, got, _, err := OpenClientInfo(server, sealedLogin(client, server.Public(), tt.json))
		if got != tt.want || !errors.Is(err, tt.err) || key != client.Public() {
			t.Errorf("%s: %+v, %v", tt.json, got, err)
		}
		if err != nil && strings.Contains(err.Error(), seq00[1:]) {
			t.Errorf("the error contains the mesh key: %v", err)
		}
	}
}

// The bytes that a client of today sends, field order and omissions included.
func TestClientInfoIsWrittenAsUpstream(t *testing.T) {
	for _, tt := range []struct {
		info ClientInfo
		want string
	}{
		{ClientInfo{}, `{"CanAckPings":false}`},
		{ClientInfo{Version: 2, CanAckPings: true}, `{"version":2,"CanAckPings":true}`},
		{ClientInfo{MeshKey: MeshKey(seqKey(0)), Version: 2, IsProber: true, AppName: "x"},
			`{"meshKey":"` + seq00 + `","version":2,"CanAckPings":false,"IsProber":true,` +
				`"AppName":"x"}`},
	} {
		if got, err := json.Marshal(tt.info); string(got) != tt.want || err != nil {
			t.Errorf("got %s, %v; want %s", got, err, tt.want)
		}
	}
	_, _, err := AppendClientInfo(nil, newKey(t), newKey(t).Public(),
		ClientInfo{AppName: "\n"}, testNonce)
	if !errors.Is(err, ErrAppName) {
		t.Errorf("a client may send a bad application name: %v", err)
	}
}

func TestServerInfoJSON(t *testing.T) {
	const biggest = 1<<63 - 1
	for _, info := range []ServerInfo{{}, {Version: 2}, {TokenBucketBytesBurst: 7},
		{Version: 2, TokenBucketBytesPerSecond: 1},
		{-biggest - 1, -biggest - 1, -biggest - 1}, {biggest, biggest, biggest}} {
		want, err := json.Marshal(info)
		got := info.appendJSON(nil)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
		if len(got) > maxServerInfoJSON {
			t.Errorf("%s is longer than maxServerInfoJSON", got)
		}
	}
}

func TestOpenServerInfoRefuses(t *testing.T) {
	shared, err := newKey(t).Shared(newKey(t).Public())
	if err != nil {
		t.Fatal(err)
	}
	good := shared.AppendServerInfo(nil, ServerInfo{Version: 2}, testNonce)[HeaderLen:]
	var le *LengthError
	if _, err := shared.OpenServerInfo(good[:39]); !errors.As(err, &le) {
		t.Errorf("39 bytes: %v", err)
	}
	good[len(good)-1] ^= 1
	if _, err := shared.OpenServerInfo(good); !errors.Is(err, ErrBox) {
		t.Errorf("altered: %v", err)
	}
	bad := shared.appendBox(nil, FrameServerInfo, nil, []byte(`{"version":"x"}`), testNonce)
	if _, err := shared.OpenServerInfo(bad[HeaderLen:]); err == nil || errors.Is(err, ErrBox) {
		t.Errorf("bad JSON: %v", err)
	}
}
