package interop

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"derpd/interop/harness"

	"go4.org/mem"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// fastRequest is the upgrade of a client that will not wait for the answer.
const fastRequest = "GET /derp HTTP/1.1\r\nHost: " + harness.Hostname + "\r\n" +
	"Connection: Upgrade\r\nUpgrade: DERP\r\nDerp-Fast-Start: 1\r\n\r\n"

// metaKey finds the DERP key in a chain's last certificate, as clients do.
func metaKey(t *testing.T, chain []*x509.Certificate) key.NodePublic {
	t.Helper()
	meta := chain[len(chain)-1]
	raw, ok := strings.CutPrefix(meta.Subject.CommonName, "derpkey")
	if !ok {
		t.Fatalf("no meta certificate: the chain ends with %q", meta.Subject.CommonName)
	}
	b, err := hex.DecodeString(raw)
	if err != nil || len(b) != 32 {
		t.Fatalf("meta certificate's name %q: %v", meta.Subject.CommonName, err)
	}
	return key.NodePublicFromRaw32(mem.B(b))
}

func TestMetaCertificate(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{TLS: true})
	chain := r.Dial(t).(*tls.Conn).ConnectionState().PeerCertificates
	if len(chain) != 2 {
		t.Fatalf("%d certificates, want the leaf and the meta certificate", len(chain))
	}
	meta := chain[1]
	if got := meta.SerialNumber.Int64(); got != derp.ProtocolVersion {
		t.Errorf("serial %d, want the protocol version %d", got, derp.ProtocolVersion)
	}
	if _, ok := meta.PublicKey.(ed25519.PublicKey); !ok {
		t.Errorf("public key is %T, want ed25519", meta.PublicKey)
	}
	if now := time.Now(); now.Before(meta.NotBefore) || now.After(meta.NotAfter) {
		t.Errorf("valid from %v to %v", meta.NotBefore, meta.NotAfter)
	}
	if err := meta.CheckSignature(
		meta.SignatureAlgorithm, meta.RawTBSCertificate, meta.Signature); err != nil {
		t.Errorf("not signed by itself: %v", err)
	}
	if got, want := metaKey(t, chain), r.Login(t).ServerPublicKey(); got != want {
		t.Errorf("meta certificate says %v, the greeting %v", got, want)
	}
}

// The request and ClientInfo leave in one flight; no HTTP answer comes, ServerKey does.
func TestFastStart(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{TLS: true})
	for range 5 {
		c := r.Dial(t).(*tls.Conn)
		serverKey := metaKey(t, c.ConnectionState().PeerCertificates)
		brw := bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c))
		brw.WriteString(fastRequest) // flushed together with ClientInfo
		p := harness.NewPeer(t, c, brw, key.NewNode(), derp.ServerPublicKey(serverKey))
		p.WantServerInfo(t)
		p.Ping(t)
	}
}

// What the client receives, byte for byte: the frame ServerKey and nothing before it.
func TestFastStartAnswerIsSuppressed(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		c := r.Dial(t)
		c.SetDeadline(time.Now().Add(harness.ReplyWaitMax))
		c.Write([]byte(fastRequest))
		br := bufio.NewReader(c)
		wantServerKey(t, br)
	})
}

// A client that sends more than ClientInfo in its first flight loses nothing, however the
// flight is cut: the bytes behind the request belong to the DERP stream.
func TestFastStartFlightInPieces(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		serverKey := r.Login(t).ServerPublicKey()
		for _, piece := range []int{1 << 20, 1000, 97, 7, 1} {
			k := key.NewNode()
			c := r.Dial(t)
			pieces := &pieceConn{Conn: c, piece: piece}
			brw := bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriterSize(pieces, 1<<16))
			brw.WriteString(fastRequest)
			writeClientInfo(t, brw.Writer, k, serverKey, `{"version":2}`)
			derp.WriteFrame(brw.Writer, derp.FrameSendPacket,
				append(k.Public().AppendTo(nil), "already here"...))
			brw.Flush()
			p := harness.NewPeer(t, c, bufio.NewReadWriter(brw.Reader, bufio.NewWriter(discard{})),
				k, derp.ServerPublicKey(serverKey))
			p.WantServerInfo(t)
			p.WantPacket(t, k.Public(), []byte("already here"))
		}
	})
}

// Without fast start the answer is a 101 that names the protocol and the key.
func TestUpgradeAnswer(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		for _, upgrade := range []string{"DERP", "derp", "websocket"} {
			c := r.Dial(t)
			c.SetDeadline(time.Now().Add(harness.ReplyWaitMax))
			c.Write([]byte("GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: " + upgrade + "\r\n\r\n"))
			br := bufio.NewReader(c)
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			h := resp.Header
			if resp.StatusCode != 101 || h.Get("Upgrade") != "DERP" ||
				h.Get("Connection") != "Upgrade" || h.Get("Derp-Version") != "2" {
				t.Errorf("Upgrade: %s is answered %s %v", upgrade, resp.Status, h)
			}
			named, err := hex.DecodeString(h.Get("Derp-Public-Key"))
			if err != nil {
				t.Fatalf("Derp-Public-Key: %v", err)
			}
			if greeted := wantServerKey(t, br); !bytes.Equal(named, greeted) {
				t.Errorf("Derp-Public-Key %x, greeting %x", named, greeted)
			}
		}
	})
}

// wantServerKey reads the greeting and returns the key in it.
func wantServerKey(t *testing.T, br *bufio.Reader) []byte {
	t.Helper()
	typ, n, err := derp.ReadFrameHeader(br)
	if err != nil || typ != derp.FrameServerKey || n < 40 {
		t.Fatalf("first frame: type %#x, length %d, error %v; want ServerKey", byte(typ), n, err)
	}
	body, err := br.Peek(int(n))
	if err != nil || string(body[:8]) != derp.Magic {
		t.Fatalf("ServerKey body %x, error %v", body, err)
	}
	return bytes.Clone(body[8:40])
}

// writeClientInfo writes the login frame with any JSON in its box.
func writeClientInfo(
	t *testing.T, bw *bufio.Writer, k key.NodePrivate, server key.NodePublic, json string,
) {
	t.Helper()
	body := append(k.Public().AppendTo(nil), k.SealTo(server, []byte(json))...)
	if err := derp.WriteFrame(bw, derp.FrameClientInfo, body); err != nil {
		t.Fatal(err)
	}
}

// pieceConn writes in pieces of a fixed size, so that each is a TCP segment or a TLS record.
type pieceConn struct {
	net.Conn
	piece int
}

func (c *pieceConn) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n, err := c.Conn.Write(p[done:min(done+c.piece, len(p))])
		done += n
		if err != nil {
			return done, err
		}
	}
	return len(p), nil
}

// discard swallows the login that derp.NewClient writes when the test has sent its own.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
