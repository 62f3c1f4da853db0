package tlsengine

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// peerCase is a handshake with crypto/tls on the other side, in both roles.
type peerCase struct {
	name           string
	id             func() identity
	server, client func(*tls.Config)
	chunk          int
	version        uint16
	suite          uint16 // 0: any
	retry          bool
	alpn           string
	curve          tls.CurveID
	clientCert     bool
}

func peerCases() []peerCase {
	cases := []peerCase{
		{name: "1.3 default curves", id: ecdsaID, version: v13, curve: tls.X25519MLKEM768},
		{name: "1.3 RSA", id: rsaID, version: v13},
		{name: "1.3 byte by byte", id: ecdsaID, version: v13, chunk: 1},
		{name: "1.3 chunks of 7", id: ecdsaID, version: v13, chunk: 7},
		{
			name: "1.3 hello retry", id: ecdsaID, version: v13, retry: true, chunk: 11,
			server: func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP384} },
			curve:  tls.CurveP384,
		},
		{
			name: "1.3 ALPN", id: ecdsaID, version: v13, alpn: "http/1.1",
			server: func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} },
			client: func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} },
		},
		{
			name: "1.3 client certificate", id: ecdsaID, version: v13, clientCert: true,
			server: func(c *tls.Config) {
				c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, ecdsaID().pool
			},
			client: func(c *tls.Config) { c.Certificates = []tls.Certificate{ecdsaID().cert} },
		},
		{
			// The peer's tickets must neither be asked for by our client nor given by our server.
			name: "1.3 session cache", id: ecdsaID, version: v13,
			client: func(c *tls.Config) { c.ClientSessionCache = tls.NewLRUClientSessionCache(4) },
		},
		{
			name: "1.2 byte by byte", id: ecdsaID, version: v12, chunk: 1,
			client: func(c *tls.Config) { c.MaxVersion = v12 },
		},
		{
			name: "1.2 client certificate and cache", id: ecdsaID, version: v12, clientCert: true,
			server: func(c *tls.Config) {
				c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, ecdsaID().pool
			},
			client: func(c *tls.Config) {
				c.MaxVersion = v12
				c.Certificates = []tls.Certificate{ecdsaID().cert}
				c.ClientSessionCache = tls.NewLRUClientSessionCache(4)
			},
		},
	}
	for _, su := range suites {
		if su.version != v12 {
			continue // crypto/tls does not let its suites of 1.3 be chosen; OpenSSL does
		}
		id := ecdsaID
		if strings.Contains(tls.CipherSuiteName(su.id), "ECDHE_RSA") {
			id = rsaID
		}
		// Both sides hold their preference back: the peer, whichever it is, offers one suite.
		only := func(c *tls.Config) {
			c.MaxVersion = v12
			c.CipherSuites = []uint16{su.id}
		}
		cases = append(cases, peerCase{
			name: tls.CipherSuiteName(su.id), id: id, version: v12, suite: su.id,
			server: only, client: only,
		})
	}
	return cases
}

func (pc *peerCase) configs() (server, client *tls.Config) {
	server, client = serverConfig(pc.id()), clientConfig(pc.id())
	if pc.server != nil {
		pc.server(server)
	}
	if pc.client != nil {
		pc.client(client)
	}
	return server, client
}

func (pc *peerCase) check(t *testing.T, p *endpoint, server bool) {
	t.Helper()
	st := p.state
	if !st.HandshakeComplete || st.Version != pc.version || p.Version() != pc.version {
		t.Errorf("state %+v, session version %#x; want version %#x", st, p.Version(), pc.version)
	}
	if pc.suite != 0 && st.CipherSuite != pc.suite || p.Suite() != st.CipherSuite {
		t.Errorf("suite %#x, session %#x, want %#x", st.CipherSuite, p.Suite(), pc.suite)
	}
	if st.ServerName != testName {
		t.Errorf("server name %q", st.ServerName)
	}
	if st.NegotiatedProtocol != pc.alpn || st.HelloRetryRequest != pc.retry {
		t.Errorf("protocol %q, retry %v", st.NegotiatedProtocol, st.HelloRetryRequest)
	}
	if pc.curve != 0 && st.CurveID != pc.curve {
		t.Errorf("curve %v, want %v", st.CurveID, pc.curve)
	}
	if server && (len(st.PeerCertificates) > 0) != pc.clientCert {
		t.Errorf("%d client certificates", len(st.PeerCertificates))
	}
}

// TestServerWithCryptoTLS: our server, a client of crypto/tls. The first data comes glued to the
// client's Finished.
func TestServerWithCryptoTLS(t *testing.T) {
	for _, pc := range peerCases() {
		t.Run(pc.name, func(t *testing.T) {
			server, client := pc.configs()
			e := mustServer(t, server)
			near, far := memPair()
			result := make(chan error, 1)
			go func() { result <- cryptoTLSPeer(tls.Client(far, client)) }()

			p := &endpoint{conn: near, chunk: pc.chunk}
			err := p.handshake(e.New(nil, nil))
			if err == nil {
				pc.check(t, p, true)
				err = p.echo()
			}
			near.Close()
			if err := errors.Join(err, <-result); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestClientWithCryptoTLS: our client, a server of crypto/tls that gives tickets.
func TestClientWithCryptoTLS(t *testing.T) {
	for _, pc := range peerCases() {
		t.Run(pc.name, func(t *testing.T) {
			server, client := pc.configs()
			e := mustClient(t, client)
			near, far := memPair()
			result := make(chan error, 1)
			go func() { result <- cryptoTLSPeer(tls.Server(far, server)) }()

			p := &endpoint{conn: near, chunk: pc.chunk}
			err := p.handshake(e.New(nil, nil))
			if err == nil {
				pc.check(t, p, false)
				err = p.echo()
			}
			near.Close()
			if err := errors.Join(err, <-result); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// cryptoTLSPeer sends messages of many sizes and wants each back, then closes and wants
// close_notify in return.
func cryptoTLSPeer(c *tls.Conn) error {
	for _, n := range messageSizes {
		want := pattern(n)
		if _, err := c.Write(want); err != nil {
			return err
		}
		got := make([]byte, n)
		if _, err := io.ReadFull(c, got); err != nil {
			return fmt.Errorf("reading %d bytes: %w", n, err)
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%d bytes came back changed", n)
		}
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return fmt.Errorf("after close_notify: %d bytes, %v; want its answer", n, err)
	}
	return nil
}

// TestHandshakeInputSplit feeds the first flight in two parts, cut at every byte.
func TestHandshakeInputSplit(t *testing.T) {
	cc := clientConfig(ecdsaID())
	cc.CurvePreferences = []tls.CurveID{tls.X25519} // a short hello
	client := mustClient(t, cc)
	server := mustServer(t, serverConfig(ecdsaID()))
	hc := client.New(nil, nil)
	defer hc.Stop()
	out, _, err := hc.Step(nil)
	if err != nil {
		t.Fatal(err)
	}
	hello := bytes.Clone(out)
	for k := range hello {
		hs := server.New(nil, nil)
		out1, _, err1 := hs.Step(hello[:k])
		if len(out1) != 0 || err1 != nil || hs.m.started {
			t.Fatalf("%d of %d bytes of ClientHello: %d bytes out, started %v, %v",
				k, len(hello), len(out1), hs.m.started, err1)
		}
		out2, done, err2 := hs.Step(hello[k:])
		if len(out2) < 500 || done || err2 != nil {
			t.Fatalf("cut at %d: %d bytes out, done %v, %v", k, len(out2), done, err2)
		}
		hs.Stop()
	}
}

// TestPeerAlerts: refusals come out as an error and, on our side, an alert to send.
func TestPeerAlerts(t *testing.T) {
	server := mustServer(t, serverConfig(ecdsaID()))
	near, far := memPair()
	result := make(chan error, 1)
	go func() { // does not know the authority
		err := tls.Client(far, &tls.Config{ServerName: testName}).Handshake()
		far.Close()
		result <- err
	}()
	p := &endpoint{conn: near}
	err := p.handshake(server.New(nil, nil))
	const badCertificate = 42 // RFC 8446 6.2
	var remote *net.OpError   // how crypto/tls tells the peer's alert
	if !errors.As(err, &remote) || remote.Op != "remote error" ||
		remote.Err.Error() != tls.AlertError(badCertificate).Error() {
		t.Errorf("the client refused the certificate, the server has: %v", err)
	}
	if err := <-result; err == nil {
		t.Error("client accepted an unknown authority")
	}

	for name, in := range map[string]string{
		"http":     "GET / HTTP/1.1\r\n",
		"sslv2":    "\x80\x2e\x01\x00\x02\x00",
		"oversize": "\x16\x03\x01\xff\xff",
	} {
		h := server.New(nil, nil)
		out, done, err := h.Step([]byte(in))
		var header tls.RecordHeaderError
		if err == nil || done || !errors.As(err, &header) {
			t.Errorf("%s: done %v, %v", name, done, err)
		}
		if name != "http" && (len(out) != 7 || out[0] != recordAlert) {
			t.Errorf("%s: no alert but %x", name, out)
		}
		if _, _, again := h.Step([]byte("x")); again == nil {
			t.Errorf("%s: Step after an error", name)
		}
		h.Stop()
	}
}

// TestConfigRefused: configurations that would take the hand-over apart.
func TestConfigRefused(t *testing.T) {
	for name, c := range map[string]*tls.Config{
		"nil":            nil,
		"no certificate": {},
		"key log":        {KeyLogWriter: io.Discard, Certificates: []tls.Certificate{ecdsaID().cert}},
		"TLS 1.1":        {MaxVersion: tls.VersionTLS11, Certificates: []tls.Certificate{ecdsaID().cert}},
		"per client": {
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil },
			Certificates:       []tls.Certificate{ecdsaID().cert},
		},
	} {
		if _, err := NewServer(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := NewClient(&tls.Config{}); err == nil {
		t.Error("client without ServerName accepted")
	}
}

// TestTemplateIsKept: the engine copies its template, and callbacks see the addresses.
func TestTemplateIsKept(t *testing.T) {
	sc := serverConfig(ecdsaID())
	local, remote := &memAddr{"local"}, &memAddr{"remote"}
	var seen []string
	sc.GetCertificate = func(i *tls.ClientHelloInfo) (*tls.Certificate, error) {
		seen = append(seen, i.Conn.LocalAddr().String(), i.Conn.RemoteAddr().String(), i.ServerName)
		if i.Context() == nil || i.Context().Err() != nil {
			return nil, errors.New("no context")
		}
		cert := ecdsaID().cert
		return &cert, nil
	}
	sc.Certificates = nil
	e := mustServer(t, sc)
	if sc.SessionTicketsDisabled || sc.KeyLogWriter != nil || sc.MinVersion != 0 {
		t.Error("NewServer changed the caller's config")
	}
	hc := mustClient(t, clientConfig(ecdsaID())).New(nil, nil)
	hs := e.New(local, remote)
	defer hc.Stop()
	defer hs.Stop()
	hello, _, err := hc.Step(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := hs.Step(hello); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(seen) != "[local remote "+testName+"]" {
		t.Errorf("callback saw %q", seen)
	}
}

type memAddr struct{ s string }

func (a *memAddr) Network() string { return "mem" }
func (a *memAddr) String() string  { return a.s }
