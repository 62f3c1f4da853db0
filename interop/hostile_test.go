package interop

import (
	"crypto/rand"
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"derpd/interop/harness"

	"tailscale.com/types/key"
)

// notHTTP are first bytes on a stream that a relay must refuse: the connection ends, at once
// or with an error page, and nobody else notices.
var notHTTP = map[string]string{
	"no request":       "\x00\x01\x02\x03\r\n\r\n",
	"a DERP frame":     "\x12\x00\x00\x00\x08abcdefgh\r\n\r\n",
	"no version":       "GET /derp\r\n\r\n",
	"header of 2 MB":   "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 2<<20),
	"2 MB of headers":  "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 350_000),
	"endless path":     "GET /" + strings.Repeat("a", 2<<20),
	"header w/o colon": "GET / HTTP/1.1\r\nHost: x\r\nfoo\r\n\r\n",
	"two lengths":      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
	"random":           random(10_000),
}

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	b[0] = 0 // never a valid method
	return string(b) + "\r\n\r\n"
}

func TestGarbageInsteadOfHTTP(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		check := bystander(t, r)
		for name, bytes := range notHTTP {
			t.Log(name)
			c := r.Dial(t)
			go c.Write([]byte(bytes)) // the relay may stop reading before the end
			answer := string(harness.WantClosed(t, c, harness.ReplyWaitMax))
			if answer != "" && !strings.HasPrefix(answer, "HTTP/1.1 4") {
				t.Errorf("%s: answered %.100q", name, answer)
			}
			check()
		}
	})
}

func TestGarbageInsteadOfTLS(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{TLS: true})
	check := bystander(t, r)
	for name, bytes := range map[string]string{
		"plain HTTP":            "GET /derp HTTP/1.1\r\nHost: x\r\n\r\n",
		"random":                random(5000),
		"a record of 2^16":      "\x16\x03\x01\xff\xff" + strings.Repeat("a", 1<<16),
		"an empty handshake":    "\x16\x03\x01\x00\x00",
		"application data":      "\x17\x03\x03\x00\x20" + strings.Repeat("a", 32),
		"a hello of nothing":    "\x16\x03\x01\x00\x04\x01\x00\x00\x00",
		"a hello of 16 MB":      "\x16\x03\x01\x00\x04\x01\xff\xff\xff",
		"an alert":              "\x15\x03\x03\x00\x02\x02\x28",
		"SSL 2":                 "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + strings.Repeat("a", 40),
		"ChangeCipherSpec only": "\x14\x03\x03\x00\x01\x01",
	} {
		t.Log(name)
		c := r.DialTCP(t)
		c.Write([]byte(bytes))
		if name == "a hello of nothing" || name == "an empty handshake" || len(bytes) < 20 {
			// More may follow, so the relay may wait; half a connection says no.
			c.(*net.TCPConn).CloseWrite()
		}
		harness.WantClosed(t, c, harness.ReplyWaitMax)
		check()
	}
}

// A client that ends in the middle of its handshake, at every length of its first flight.
func TestHandshakeCutShort(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{TLS: true})
	check := bystander(t, r)
	hello := clientHello(t, r)
	for n := 0; n < len(hello); n += 1 + len(hello)/40 {
		c := r.DialTCP(t)
		c.Write(hello[:n])
		c.(*net.TCPConn).CloseWrite()
		harness.WantClosed(t, c, harness.ReplyWaitMax)
	}
	check()
	for i := 0; i < len(hello); i += 1 + len(hello)/40 {
		bent := append([]byte(nil), hello...)
		bent[i] ^= 0x55
		c := r.DialTCP(t)
		c.Write(bent)
		c.(*net.TCPConn).CloseWrite() // where the flip hits random bytes the hello stays good
		harness.WantClosed(t, c, harness.ReplyWaitMax)
	}
	check()
}

// clientHello records the first flight of Go's client.
func clientHello(t *testing.T, r *harness.Relay) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	go tls.Client(client, r.TLSConfig()).Handshake()
	b := make([]byte, 16<<10)
	server.SetReadDeadline(time.Now().Add(harness.ReplyWaitMax))
	n, err := server.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// A record whose tag is wrong ends its connection with an alert, and no other.
func TestBadTag(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{TLS: true})
	check := bystander(t, r)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		bender := &bendingConn{Conn: r.DialTCP(t)}
		config := r.TLSConfig()
		config.MinVersion, config.MaxVersion = version, version
		p := harness.LoginOver(t, tls.Client(bender, config), key.NewNode())
		p.Ping(t)
		bender.bend.Store(true)
		if err := p.SendPing([8]byte{}); err != nil {
			t.Fatal(err)
		}
		p.WantClosed(t)
		_, err := p.Recv() // sticky: the error that ended the connection
		if err == nil || !strings.Contains(err.Error(), "bad record MAC") {
			t.Errorf("%s: ended with %v, want the alert bad_record_mac",
				tls.VersionName(version), err)
		}
		check()
	}
}

// bendingConn flips the last bit of each write once told to.
type bendingConn struct {
	net.Conn
	bend atomic.Bool
}

func (c *bendingConn) Write(p []byte) (int, error) {
	if c.bend.Load() {
		p = append([]byte(nil), p...)
		p[len(p)-1] ^= 1
	}
	return c.Conn.Write(p)
}

// Many connections at every stage at once, left lying: the relay goes on.
func TestAbandonedConnections(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{TLS: true})
	check := bystander(t, r)
	hello := clientHello(t, r)
	for range 50 {
		r.DialTCP(t)                                           // says nothing
		r.DialTCP(t).Write(hello[:len(hello)/2])               // half a hello
		r.DialTCP(t).Write(hello)                              // a hello and no more
		r.Dial(t)                                              // TLS and no request
		r.Dial(t).Write([]byte("GET /derp HTTP/1.1\r\nHost:")) // half a request
		r.Dial(t).Write([]byte(fastRequest))                   // no login
	}
	check()
}
