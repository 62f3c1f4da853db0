package main

import (
	"crypto/x509"
	"fmt"
	"strings"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// verifies tells whether certificates of others are to be verified: of a certificate authority's
// server, of other nodes or of who is asked about logins.
func (s *server) verifies() bool {
	return s.auto != nil || len(s.mesh.Peers) > 0 || strings.HasPrefix(s.cfg.verifyURL, "https:")
}

// trustSomeone makes the process trust the authorities that Mozilla does, if the system names none,
// as images of containers often do not. It must be called once at most, before anything is
// verified.
func trustSomeone() error {
	pool, err := x509.SystemCertPool()
	if err == nil && !pool.Equal(x509.NewCertPool()) {
		return nil
	}
	pool = x509.NewCertPool()
	for root := range bundle.Roots() {
		cert, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			return fmt.Errorf("the built-in roots of certificate authorities are damaged: %w", err)
		}
		if root.Constraint != nil {
			pool.AddCertWithConstraint(cert, root.Constraint)
		} else {
			pool.AddCert(cert)
		}
	}
	x509.SetFallbackRoots(pool)
	return nil
}
