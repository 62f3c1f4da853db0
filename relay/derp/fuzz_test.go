package derp

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse gives any payload to the parser of any type, and has what was understood
// written and parsed again: it must come out the same.
func FuzzParse(f *testing.F) {
	for t := range FrameRestarting + 2 {
		for _, n := range []int{0, 1, 7, 8, 31, 32, 33, 51, 55, 64, 70, 1001} {
			f.Add(byte(t), make([]byte, n))
		}
	}
	f.Add(byte(FrameServerKey), AppendServerKey(nil, seqKey(1))[HeaderLen:])
	f.Add(byte(FramePeerPresent), AppendPeerPresent(nil, PeerPresent{AppName: "n"})[HeaderLen:])
	f.Fuzz(func(t *testing.T, typ byte, b []byte) {
		again := reparse(t, FrameType(typ), b)
		if again == nil {
			return
		}
		got, n, ok := Header(again)
		if !ok || got != FrameType(typ) || n != len(again)-HeaderLen {
			t.Fatalf("%v was written as %x", FrameType(typ), again)
		}
		if twice := reparse(t, FrameType(typ), again[HeaderLen:]); !bytes.Equal(again, twice) {
			t.Fatalf("%x became %x", again, twice)
		}
	})
}

// reparse parses a payload and writes what it means as a frame; nil if it is refused.
func reparse(t *testing.T, typ FrameType, b []byte) []byte {
	var out []byte
	var err error
	from := FromClient
	switch typ {
	case FrameServerKey:
		var k Key
		k, err = ParseServerKey(b)
		out, from = AppendServerKey(nil, k), FromServer
	case FrameSendPacket:
		k, packet, e := ParseSendPacket(b)
		out, err = AppendSendPacket(nil, k, packet), e
	case FrameRecvPacket:
		k, packet, e := ParseRecvPacket(b)
		out, err, from = AppendRecvPacket(nil, k, packet), e, FromServer
	case FrameForwardPacket:
		src, to, packet, e := ParseForwardPacket(b)
		out, err = AppendForwardPacket(nil, src, to, packet), e
	case FrameNotePreferred:
		yes, e := ParseNotePreferred(b)
		out, err = AppendNotePreferred(nil, yes), e
	case FramePeerGone:
		k, reason, e := ParsePeerGone(b)
		out, err, from = AppendPeerGone(nil, k, reason), e, FromServer
	case FramePeerPresent:
		p, e := ParsePeerPresent(b)
		out, err, from = AppendPeerPresent(nil, p), e, FromServer
	case FrameClosePeer:
		k, e := ParseClosePeer(b)
		out, err = AppendClosePeer(nil, k), e
	case FramePing:
		data, e := ParsePing(b)
		out, err = AppendPing(nil, data), e
	case FramePong:
		data, e := ParsePong(b)
		out, err, from = AppendPong(nil, data), e, FromServer
	case FrameHealth:
		s, e := ParseHealth(b)
		out, err, from = AppendHealth(nil, s), e, FromServer
	case FrameRestarting:
		r, e := ParseRestarting(b)
		out, err, from = AppendRestarting(nil, r), e, FromServer
	default:
		return nil
	}
	var le *LengthError
	if lenErr := CheckLen(typ, len(b), from); (lenErr != nil) != errors.As(err, &le) {
		t.Fatalf("%v with %d bytes: CheckLen says %v, the parser %v", typ, len(b), lenErr, err)
	}
	if err != nil {
		return nil
	}
	return out
}

// FuzzHeader walks a stream as a receiver does: whatever the bytes, a frame that CheckLen
// allows has a length that can be added to an offset.
func FuzzHeader(f *testing.F) {
	f.Add(AppendPing(AppendKeepAlive(nil), [PingLen]byte{}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			typ, n, ok := Header(b)
			if ok != (len(b) >= HeaderLen) {
				t.Fatalf("%d bytes: ok is %v", len(b), ok)
			}
			if !ok || CheckLen(typ, n, FromClient) != nil || len(b) < HeaderLen+n {
				return
			}
			if typ == FrameSendPacket {
				packet := bytes.Clone(b[HeaderLen+KeyLen : HeaderLen+n])
				SendToRecv(b[:HeaderLen+n], seqKey(3))
				src, got, err := ParseRecvPacket(b[HeaderLen : HeaderLen+n])
				if src != seqKey(3) || !bytes.Equal(got, packet) || err != nil {
					t.Fatalf("SendToRecv: %v, %x, %v", src, got, err)
				}
			}
			b = b[HeaderLen+n:]
		}
	})
}

func FuzzOpenClientInfo(f *testing.F) {
	server, client := PrivateKey(seqKey(0x40)), PrivateKey(seqKey(0x80))
	f.Add(sealedLogin(client, server.Public(), `{"version":2}`))
	f.Add(make([]byte, MinClientInfo))
	for _, s := range lowOrder {
		f.Add(append(unhex(f, s), make([]byte, 60)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		key, _, shared, err := OpenClientInfo(server, b)
		if !bytes.Equal(b, before) {
			t.Fatal("the payload was written to")
		}
		if err == nil && (key != Key(b) || shared == Shared{}) {
			t.Fatalf("opened without a key or a secret")
		}
		if err != nil && shared != (Shared{}) {
			t.Fatal("a secret came with an error")
		}
		shared.OpenServerInfo(b)
	})
}

func FuzzClientInfoJSON(f *testing.F) {
	f.Add([]byte(`{"meshKey":"` + seq00 + `","version":2,"CanAckPings":true,"AppName":"x"}`))
	f.Add([]byte(`{"MESHKEY":"","version":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := decodeClientInfo(b)
		if err != nil {
			if !errors.Is(err, ErrInfoJSON) && !errors.Is(err, ErrAppName) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		text, err := json.Marshal(info)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeClientInfo(text); back != info || err != nil {
			t.Fatalf("%s became %v, %v", text, back, err)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add("nodekey:" + seq00)
	f.Add("privkey:" + seq40)
	f.Add(seq00 + "\n")
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParseKey(s); err == nil {
			if back, err := ParseKey(k.String()); back != k || err != nil {
				t.Fatalf("%q became %v, %v", s, back, err)
			}
		}
		if p, err := ParsePrivateKey(s); err == nil {
			text, err := p.MarshalText()
			if back, err2 := ParsePrivateKey(string(text)); back != p || err != nil || err2 != nil {
				t.Fatalf("a private key did not survive: %v, %v", err, err2)
			}
		}
		if m, err := ParseMeshKey(s); err == nil {
			text, err := m.MarshalJSON()
			var back MeshKey
			if err2 := back.UnmarshalJSON(text); back != m || err != nil || err2 != nil {
				t.Fatalf("a mesh key did not survive: %v, %v", err, err2)
			}
		}
	})
}

func FuzzKeyFile(f *testing.F) {
	f.Add([]byte("{\n\t\"PrivateKey\": \"privkey:" + seq40 + "\"\n}"))
	f.Add([]byte(`{"PrivateKey":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if key, err := LoadKey(path); (err == nil) == key.IsZero() {
			t.Fatalf("%q: zero key %v, %v", b, key.IsZero(), err)
		}
	})
}

func FuzzKeyFromMetaCert(f *testing.F) {
	// Not from MetaCert, whose output is random: a seed must be the same in every worker.
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	template := &x509.Certificate{SerialNumber: big.NewInt(ProtocolVersion), NotAfter: metaTestTime,
		Subject: pkix.Name{CommonName: metaCertPrefix + seqKey(5).Hex()}}
	der, err := x509.CreateCertificate(nil, template, template, private.Public(), private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Fuzz(func(t *testing.T, der []byte) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		if key, version, ok := KeyFromMetaCert(cert); ok && (version < 0 || version > 255 ||
			len(cert.Subject.CommonName) != len(metaCertPrefix)+2*KeyLen) || !ok && !key.IsZero() {
			t.Fatalf("%q: %v, %d, %v", cert.Subject.CommonName, key, version, ok)
		}
	})
}
