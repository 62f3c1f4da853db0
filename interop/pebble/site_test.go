package pebble

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"derpd/relay/certs"
	"derpd/relay/derp"
	"derpd/tlsengine"
)

// site is a host with a TLS port and an HTTP port, whatever serves them at the moment.
type site struct {
	tls, http net.Listener
	roots     *x509.CertPool // of who visits it

	mu     sync.Mutex
	engine *tlsengine.Engine
	plain  http.Handler
	protos []string // negotiated
}

func newSite(t *testing.T) *site {
	s := &site{tls: listen(t), http: listen(t), plain: http.NotFoundHandler()}
	var ended sync.WaitGroup
	ended.Go(func() {
		for {
			c, err := s.tls.Accept()
			if err != nil {
				return
			}
			ended.Go(func() { s.handshake(c) })
		}
	})
	srv := &http.Server{Handler: http.HandlerFunc(s.servePlain)}
	ended.Go(func() { srv.Serve(s.http) })
	t.Cleanup(func() {
		s.tls.Close()
		srv.Close()
		ended.Wait()
	})
	return s
}

// serve changes who serves the site.
func (s *site) serve(t *testing.T, conf *tls.Config, plain http.Handler) {
	t.Helper()
	engine, err := tlsengine.NewServer(conf)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.engine, s.plain, s.protos = engine, plain, nil
}

func (s *site) servePlain(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	h := s.plain
	s.mu.Unlock()
	h.ServeHTTP(w, r)
}

// handshake does one handshake and hangs up.
func (s *site) handshake(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	s.mu.Lock()
	engine := s.engine
	s.mu.Unlock()
	h := engine.New(c.LocalAddr(), c.RemoteAddr())
	defer h.Stop()
	in := make([]byte, 4096)
	for {
		n, err := c.Read(in)
		if err != nil {
			return
		}
		out, done, failed := h.Step(in[:n])
		if _, err := c.Write(out); err != nil || failed != nil {
			return
		}
		if done {
			break
		}
	}
	var session tlsengine.Session
	if _, state, err := h.Finish(&session); err == nil {
		s.mu.Lock()
		s.protos = append(s.protos, state.NegotiatedProtocol)
		s.mu.Unlock()
	}
}

// visit does what a client does, and returns the chain that was served.
func (s *site) visit(name string) ([]*x509.Certificate, error) {
	d := &net.Dialer{Timeout: 10 * time.Second}
	c, err := tls.DialWithDialer(d, "tcp", s.tls.Addr().String(), &tls.Config{
		ServerName: name, RootCAs: s.roots, NextProtos: []string{"http/1.1"}})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates, nil
}

// wantVisit waits until a client is served well, and returns the certificate.
func (s *site) wantVisit(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	var chain []*x509.Certificate
	waitFor(t, issueMax, func() (err error) {
		chain, err = s.visit(name)
		return err
	})
	key, _, ok := derp.KeyFromMetaCert(chain[len(chain)-1])
	if !ok || key != serverKey {
		t.Errorf("the last certificate is of %v", chain[len(chain)-1].Subject)
	}
	return chain[0]
}

// wantRenewal waits until clients are served another certificate, never none.
func (s *site) wantRenewal(t *testing.T, name string, old *x509.Certificate) {
	t.Helper()
	waitFor(t, issueMax, func() error {
		chain, err := s.visit(name)
		if err != nil {
			t.Fatal(err)
		}
		if chain[0].Equal(old) {
			return fmt.Errorf("the certificate until %v is still served", old.NotAfter)
		}
		return nil
	})
}

// validations returns how many handshakes were the CA's.
func (s *site) validations() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.protos {
		if p == "acme-tls/1" {
			n++
		}
	}
	return n
}

var serverKey = derp.Key{1, 2, 3}

// how is what tests vary.
type how struct {
	noALPN bool // the TLS port cannot be validated
	ahead  time.Duration
}

// start has the site served by an Auto, until stop or the test's end.
func start(t *testing.T, s *site, ca *ca, c certs.ACMEConfig, h how) (a *certs.Auto, stop func()) {
	t.Helper()
	c.Directory, c.HTTPClient = ca.directory, ca.client
	c.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	c.Now = func() time.Time { return time.Now().Add(h.ahead) }
	a, err := certs.ACME(c)
	if err != nil {
		t.Fatal(err)
	}
	protos := a.NextProtos()
	if h.noALPN {
		protos = []string{"http/1.1"}
	}
	plain := a.HTTPHandler(http.NotFoundHandler())
	if err := a.Serve(serverKey); err != nil {
		t.Fatal(err)
	}
	s.roots = ca.roots
	s.serve(t, &tls.Config{GetCertificate: a.GetCertificate, NextProtos: protos}, plain)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		a.Watch(ctx)
		close(ended)
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return a, stop
}
