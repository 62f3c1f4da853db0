package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"

	"derpd/relay/certs"
	"derpd/relay/derp"
)

// certSource is where handshakes get their certificate from.
type certSource interface {
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Watch(context.Context)
}

// certificates reads what there is; nothing is written before serveCerts.
func (s *server) certificates() (err error) {
	c := s.cfg
	switch {
	case !c.tls:
	case c.certMode == "manual":
		s.store, err = certs.Manual(c.certDir, c.hostname, s.log)
		s.certs = s.store
	case c.certMode == "self-signed":
		s.store, err = certs.SelfSigned(c.hostname, s.log)
		s.certs = s.store
	default:
		s.auto, err = s.acme()
		s.certs = s.auto
	}
	return err
}

func (s *server) acme() (*certs.Auto, error) {
	c := s.cfg
	ac := certs.ACMEConfig{Directory: c.acmeDirectory, Email: c.acmeEmail,
		CacheDir: c.certDir, Hostname: c.hostname, IPs: c.ipCerts, Logger: s.log}
	if c.certMode == "gcp" {
		if c.eabKid == "" || c.eabKey == "" || c.acmeEmail == "" {
			return nil, fmt.Errorf("-certmode gcp needs -acme-eab-kid, -acme-eab-key and " +
				"-acme-email: Google's certificate authority gives the first two")
		}
		ac.EABKid, ac.EABKey = c.eabKid, c.eabKey
		if ac.Directory == "" {
			ac.Directory = certs.GoogleDirectory
		}
	}
	return certs.ACME(ac)
}

// serveCerts puts the certificate in service for the server's key.
func (s *server) serveCerts(key derp.Key) error {
	switch {
	case s.auto != nil:
		return s.auto.Serve(key)
	case s.store != nil:
		made, err := s.store.Serve(key)
		if err != nil {
			return err
		}
		if made {
			s.log.Info("made a self-signed certificate", "dir", s.cfg.certDir)
		}
	}
	return nil
}

// pinned tells whether clients know the certificate by its hash in the DERP map, because no
// authority vouches for it.
func (s *server) pinned() bool {
	_, err := netip.ParseAddr(s.cfg.hostname)
	return s.store != nil && (s.cfg.certMode == "self-signed" || err == nil)
}

// protocols is what ALPN offers.
func (s *server) protocols() []string {
	if s.auto != nil {
		return s.auto.NextProtos()
	}
	return []string{"http/1.1"}
}

// onPlain wraps the handler of port 80 with the answers to ACME's challenges.
func (s *server) onPlain(h http.Handler) http.Handler {
	if s.auto != nil {
		return s.auto.HTTPHandler(h)
	}
	return h
}
