package tlsengine

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

const testName = "relay.example"

// identity is a certificate that is its own authority.
type identity struct {
	cert tls.Certificate
	pool *x509.CertPool
}

func newIdentity(useRSA bool) identity {
	var key any
	var pub any
	if useRSA {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		key, pub = k, k.Public()
	} else {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		key, pub = k, k.Public()
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: testName},
		DNSNames:  []string{testName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pub, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return identity{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool}
}

var (
	ecdsaID = sync.OnceValue(func() identity { return newIdentity(false) })
	rsaID   = sync.OnceValue(func() identity { return newIdentity(true) })
)

func serverConfig(id identity) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{id.cert}}
}

func clientConfig(id identity) *tls.Config {
	return &tls.Config{ServerName: testName, RootCAs: id.pool}
}

func mustServer(t testing.TB, c *tls.Config) *Engine {
	t.Helper()
	e, err := NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func mustClient(t testing.TB, c *tls.Config) *Engine {
	t.Helper()
	e, err := NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// pipe is one direction of a connection in memory, with room without end.
type pipe struct {
	mu     sync.Mutex
	more   *sync.Cond
	buf    bytes.Buffer
	closed bool
}

func newPipe() *pipe {
	p := &pipe{}
	p.more = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, net.ErrClosed
	}
	p.more.Broadcast()
	return p.buf.Write(b)
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.buf.Len() == 0 {
		if p.closed {
			return 0, io.EOF
		}
		p.more.Wait()
	}
	return p.buf.Read(b)
}

func (p *pipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.more.Broadcast()
}

// memConn is one end of a connection in memory.
type memConn struct {
	wire // addresses and deadlines
	in   *pipe
	out  *pipe
}

func (c *memConn) Read(b []byte) (int, error)  { return c.in.Read(b) }
func (c *memConn) Write(b []byte) (int, error) { return c.out.Write(b) }
func (c *memConn) Close() error                { c.in.close(); c.out.close(); return nil }

func memPair() (a, b *memConn) {
	x, y := newPipe(), newPipe()
	return &memConn{in: x, out: y}, &memConn{in: y, out: x}
}

// endpoint drives a Handshake and then a Session over a net.Conn, as a loop would.
type endpoint struct {
	conn  net.Conn
	chunk int // bytes fed at a time; 0: all that came
	Session
	state tls.ConnectionState
	in    []byte // records, and the start of one
}

// handshake leads a handshake to its end.
func (p *endpoint) handshake(h *Handshake) error {
	defer h.Stop()
	buf := make([]byte, 64<<10)
	var feed []byte
	for {
		n := len(feed)
		if p.chunk > 0 {
			n = min(n, p.chunk)
		}
		out, done, err := h.Step(feed[:n])
		feed = feed[n:]
		if len(out) > 0 {
			if _, werr := p.conn.Write(out); werr != nil && err == nil {
				err = werr
			}
		}
		if err != nil {
			return err
		}
		if done {
			break
		}
		if len(feed) > 0 {
			continue
		}
		n, err = p.conn.Read(buf)
		if err != nil {
			return err
		}
		feed = buf[:n]
	}
	rest, state, err := h.Finish(&p.Session)
	p.state = state
	p.in = append(append(p.in, rest...), feed...)
	return err
}

// read returns the application data of the next record that has some.
func (p *endpoint) read() ([]byte, error) {
	for {
		plain, err := p.readRecord()
		if err != nil || plain != nil {
			return plain, err
		}
	}
}

// readRecord opens one record, and sends what becomes due by it.
func (p *endpoint) readRecord() ([]byte, error) {
	buf := make([]byte, 64<<10)
	if p.chunk > 0 {
		buf = buf[:p.chunk]
	}
	n, err := RecordLen(p.in)
	for err == nil && (n == 0 || n > len(p.in)) {
		m, readErr := p.conn.Read(buf)
		if readErr != nil {
			return nil, errors.Join(errors.New("socket"), readErr)
		}
		p.in = append(p.in, buf[:m]...)
		n, err = RecordLen(p.in)
	}
	var plain []byte
	if err == nil {
		plain, err = p.Open(p.in[:n])
		plain = bytes.Clone(plain)
		p.in = p.in[n:]
	}
	if err == nil && p.NeedsSend() {
		_, err = p.conn.Write(p.AppendControl(nil))
	}
	if err != nil {
		if alert := p.AppendAlert(nil, err); len(alert) > 0 {
			p.conn.Write(alert)
		}
	}
	return plain, err
}

// write seals b into records and sends them.
func (p *endpoint) write(b []byte) error {
	var out []byte
	if p.NeedsSend() {
		out = p.AppendControl(out)
	}
	for len(b) > 0 {
		n := min(len(b), MaxPlaintext)
		out = sealed(&p.Session, out, b[:n])
		b = b[n:]
	}
	_, err := p.conn.Write(out)
	return err
}

// echo returns what it reads until close_notify.
func (p *endpoint) echo() error {
	for {
		b, err := p.read()
		if err == io.EOF { // close_notify; the end of the connection below is wrapped
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.write(b); err != nil {
			return err
		}
	}
}

// expect reads n bytes and compares them.
func (p *endpoint) expect(want []byte) error {
	var got []byte
	for len(got) < len(want) {
		b, err := p.read()
		if err != nil {
			return err
		}
		got = append(got, b...)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("got %d bytes, not the %d sent", len(got), len(want))
	}
	return nil
}

// sealed appends one record with b.
func sealed(s *Session, dst, b []byte) []byte {
	start := len(dst)
	return s.SealFinish(append(s.SealStart(dst), b...), start)
}

// sealedAs appends one record of any content type, as only a peer would.
func sealedAs(s *Session, dst []byte, typ byte, b []byte) []byte {
	start := len(dst)
	return s.sealRecord(append(s.SealStart(dst), b...), start, typ)
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

var messageSizes = []int{1, 2, 100, 1400, MaxPlaintext - 1, MaxPlaintext, MaxPlaintext + 1, 50000}

// allSuites calls f for every suite.
func allSuites(t *testing.T, f func(t *testing.T, su *suite)) {
	for i := range suites {
		su := &suites[i]
		t.Run(su.name(), func(t *testing.T) { f(t, su) })
	}
}

func mustPair(t testing.TB, su *suite) (client, server *Session) {
	t.Helper()
	c, s, err := NewPair(su.version, su.id, []byte("sixteen bytes or more"))
	if err != nil {
		t.Fatal(err)
	}
	return &c, &s
}

func suite13(t testing.TB) *suite {
	t.Helper()
	su, err := suiteOf(v13, tls.TLS_AES_128_GCM_SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return su
}

func (su *suite) name() string {
	return tls.VersionName(su.version) + "/" + tls.CipherSuiteName(su.id)
}
