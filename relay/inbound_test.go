package relay

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"testing"

	"derpd/relay/derp"
	"derpd/tlsengine"
)

// TestAnnouncedRecordHoldsLittle: a record takes memory as it arrives, not as it is announced, and
// one that comes in many parts is copied a few times only.
func TestAnnouncedRecordHoldsLittle(t *testing.T) {
	for name, parts := range map[string][]int{ // lengths; the last is repeated to the end
		"header, then all":  {5, tlsengine.MaxRecord},
		"header in two":     {3, 2, tlsengine.MaxRecord},
		"byte by byte":      {1},
		"packet by packet":  {1400},
		"most of it, a bit": {12_000, 1},
	} {
		_, ds, _ := newDoubles(t, 1, Config{})
		d := ds[0]
		from, to := d.login(t, 1, true), d.login(t, 2, true)
		c := d.l.at(from.h)
		frame := derp.AppendSendPacket(nil, to.key, testPacket(1))
		rec := from.seal(bytes.Repeat(frame, tlsengine.MaxPlaintext/len(frame)))
		free := d.l.q.Blocks.Lent()
		grown, room := 0, 0
		for sent := 0; sent < len(rec); {
			n := min(parts[0], len(rec)-sent)
			if len(parts) > 1 {
				parts = parts[1:]
			}
			d.l.Received(from.h, bytes.Clone(rec[sent:sent+n]))
			d.l.Flush()
			if sent += n; sent == len(rec) {
				break
			}
			if got, most := d.l.q.Blocks.Lent()-free, int64(max(2048, 4*sent)); got > most {
				t.Fatalf("%s: %d bytes hold %d, want %d at most", name, sent, got, most)
			}
			if cap(c.raw.Buf) > room {
				grown, room = grown+1, cap(c.raw.Buf)
			}
		}
		if grown > 6 {
			t.Errorf("%s: copied %d times", name, grown)
		}
		if got := d.counted().PacketsSent; got != tlsengine.MaxPlaintext/uint64(len(frame)) {
			t.Errorf("%s: %d packets arrived", name, got)
		}
	}
}

// TestPeerAlertHasNoAnswer: who has sent a fatal alert is gone; close_notify is answered.
func TestPeerAlertHasNoAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		say   func(cl *doubleClient) []byte
		end   Reason
		sends int
	}{
		"alert": {func(cl *doubleClient) []byte {
			return cl.tls.AppendAlert(nil, tlsengine.ErrBadRecord)
		}, EndPeerAlert, 0},
		"close_notify": {func(cl *doubleClient) []byte { return cl.tls.AppendClose(nil) },
			EndPeerClosed, 1},
	} {
		_, ds, _ := newDoubles(t, 1, Config{})
		d := ds[0]
		cl := d.login(t, 1, true)
		lent, sends := d.l.q.Blocks.Lent(), d.sends
		d.l.Received(cl.h, tc.say(cl))
		d.l.Flush()
		if n := d.counted().Ends[tc.end]; n != 1 || !d.slots[cl.h.Slot()].closed {
			t.Errorf("%s: not ended for %v", name, tc.end)
		}
		if d.sends -= sends; d.sends != tc.sends {
			t.Errorf("%s: answered by %d sends, want %d", name, d.sends, tc.sends)
		}
		if got := d.l.q.Blocks.Lent(); got != lent {
			t.Errorf("%s: %d bytes are lent, %d before", name, got, lent)
		}
	}
}

// keyUpdateRequest is the client's first record in the pair of a secret with TLS 1.3 and AES-128-GCM:
// a KeyUpdate that asks for one in return (RFC 8446 §4.6.3), which a Session sends only when it
// has opened millions of records. The client's Session does not know of it.
func keyUpdateRequest(t *testing.T, secret []byte) []byte {
	t.Helper()
	traffic, err := hkdf.Key(sha256.New, secret, nil, "derpd pair client", sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	expand := func(label string, n int) []byte { // HKDF-Expand-Label, RFC 8446 §7.1
		label = "tls13 " + label
		b, err := hkdf.Expand(sha256.New, traffic,
			string([]byte{0, byte(n), byte(len(label))})+label+"\x00", n)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	block, err := aes.NewCipher(expand("key", 16))
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	const keyUpdate, requested, handshake, data = 24, 1, 22, 23
	plain := []byte{keyUpdate, 0, 0, 1, requested, handshake}
	head := []byte{data, 3, 3, 0, byte(len(plain) + gcm.Overhead())}
	return gcm.Seal(head, expand("iv", gcm.NonceSize()), plain, head) // number 0: the IV is the nonce
}

// TestKeyUpdateIsAnswered: a client that asks for a new key gets it at the end of the turn, though
// the relay has nothing else to say to it.
func TestKeyUpdateIsAnswered(t *testing.T) {
	secret := make([]byte, 32)
	client, server, err := tlsengine.NewPair(tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, secret)
	if err != nil {
		t.Fatal(err)
	}
	_, ds, _ := newDoubles(t, 1, Config{})
	d := ds[0]
	cl := d.login(t, 1, true)
	c := d.l.at(cl.h)
	cl.tls, c.tls = &client, &server
	d.keep = true
	d.take()
	d.l.Received(cl.h, keyUpdateRequest(t, secret))
	d.l.Flush()
	answer := d.take()
	if n, err := tlsengine.RecordLen(answer); n == 0 || n != len(answer) || err != nil {
		t.Fatalf("answered by %d bytes, want one record: %d, %v", len(answer), n, err)
	}
	if plain := cl.open(t, answer); len(plain) != 0 {
		t.Fatalf("answered by %x", plain)
	}
	d.l.control(c, derp.AppendKeepAlive(nil)) // with the new key, which the answer has told of
	d.l.Flush()
	if got := cl.open(t, d.take()); !bytes.Equal(got, derp.AppendKeepAlive(nil)) {
		t.Errorf("then %x arrived", got)
	}
}
