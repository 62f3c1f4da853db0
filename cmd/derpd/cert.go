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
	if err != nil {
		return err
	}
	s.tellUnused()
	return nil
}

func (s *server) acme() (*certs.Auto, error) {
	c := s.cfg
	ac := certs.ACMEConfig{Directory: c.acmeDirectory, Email: c.acmeEmail,
		CacheDir: c.certDir, Hostname: c.hostname, IPs: c.ipCerts, Logger: s.log}
	// Let's Encrypt binds no accounts, so that derper leaves the flags unused with it; another
	// directory may want them.
	if c.certMode == "gcp" || c.acmeDirectory != "" {
		ac.EABKid, ac.EABKey = c.eabKid, c.eabKey
	}
	if c.certMode == "gcp" && ac.Directory == "" {
		ac.Directory = certs.GoogleDirectory
	}
	return certs.ACME(ac)
}

// checkACME refuses flags of ACME that would be of no effect, or do not go together.
func (c *config) checkACME() error {
	if !c.tls {
		return nil
	}
	ours := c.certMode == "manual" || c.certMode == "self-signed"
	switch {
	case ours && c.acmeDirectory != "":
		return fmt.Errorf("-acme-directory %s means nothing with -certmode %s, which asks nobody: "+
			"leave one of them out", c.acmeDirectory, c.certMode)
	case c.ipCerts && c.certMode != "letsencrypt":
		return fmt.Errorf("-acme-ip-certs means nothing with -certmode %s: use it with -certmode "+
			"letsencrypt, or leave it out", c.certMode)
	case c.certMode == "gcp" && (c.eabKid == "" || c.eabKey == "" || c.acmeEmail == ""):
		return fmt.Errorf("-certmode gcp needs -acme-eab-kid, -acme-eab-key and " +
			"-acme-email: Google's certificate authority gives the first two")
	}
	return nil
}

// tellUnused warns of flags that derper takes without using them, and derpd likewise.
func (s *server) tellUnused() {
	c := s.cfg
	if (c.eabKid != "" || c.eabKey != "") && (s.auto == nil || c.certMode == "letsencrypt" &&
		c.acmeDirectory == "") {
		s.log.Warn("-acme-eab-kid and -acme-eab-key are not used", "certmode", c.certMode,
			"remedy", "leave them out, or use -certmode gcp or -acme-directory")
	}
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
