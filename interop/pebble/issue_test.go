package pebble

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"derpd/relay/certs"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

const (
	renewalDue = 61 * 24 * time.Hour // after an issue: of 90 days, the most that Pebble gives here
	shortLife  = 6 * 24 * time.Hour
)

// TestName: a name is certified by either validation, kept over a restart, and renewed.
func TestName(t *testing.T) {
	for _, tt := range []struct {
		name string
		how  how
	}{{"tls-alpn-01", how{}}, {"http-01", how{noALPN: true}}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			ca := startCA(t, s, false)
			c := certs.ACMEConfig{CacheDir: t.TempDir(), Hostname: hostName,
				Email: "operator@example.com"}
			a, stop := start(t, s, ca, c, tt.how)
			first := s.wantVisit(t, hostName)
			if n := s.validations(); (n > 0) == tt.how.noALPN {
				t.Errorf("%d validations by handshake", n)
			}
			if got := a.Stats(); got.Issued != 1 || got.Failed != 0 || got.Validated == 0 {
				t.Errorf("%+v", got)
			}
			stop()
			tt.how.ahead = renewalDue
			a, _ = start(t, s, ca, c, tt.how)
			if again := s.wantVisit(t, hostName); a.Stats().Misses != 0 {
				t.Errorf("%+v after a restart, serving %v", a.Stats(), again.Subject)
			}
			s.wantRenewal(t, hostName, first)
		})
	}
}

// TestAddress: a local address is certified for six days when a client has come to it.
func TestAddress(t *testing.T) {
	t.Parallel()
	const ip = "127.0.0.1"
	s := newSite(t)
	ca := startCA(t, s, false)
	c := certs.ACMEConfig{CacheDir: t.TempDir(), Hostname: hostName, IPs: true}
	a, stop := start(t, s, ca, c, how{})
	if _, err := s.visit(ip); err == nil {
		t.Error("the first client was served")
	}
	leaf := s.wantVisit(t, ip)
	if life := leaf.NotAfter.Sub(leaf.NotBefore).Round(time.Hour); life != shortLife {
		t.Errorf("a certificate for %v, want %v", life, shortLife)
	}
	s.wantVisit(t, hostName)
	if got := a.Stats(); got.Misses == 0 || got.Issued != 2 || got.Failed != 0 {
		t.Errorf("%+v", got)
	}
	stop()
	for _, file := range []string{ip + ".crt", ip + ".key", "acme-account.key", hostName} {
		if _, err := os.Stat(filepath.Join(c.CacheDir, file)); err != nil {
			t.Error(err)
		}
	}
	a, _ = start(t, s, ca, c, how{ahead: 5 * 24 * time.Hour})
	s.wantRenewal(t, ip, leaf)
	if n := a.Stats().Misses; n != 0 {
		t.Errorf("%d misses after a restart", n)
	}
}

// TestExternalAccount: a CA that wants an external account gets it, as Google's does.
func TestExternalAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := startCA(t, s, true)
	c := certs.ACMEConfig{CacheDir: t.TempDir(), Hostname: hostName}
	a, stop := start(t, s, ca, c, how{})
	waitFor(t, issueMax, func() error {
		if a.Stats().Failed == 0 {
			return errors.New("no attempt has failed")
		}
		return nil
	})
	stop()
	c.EABKid, c.EABKey, c.Email = eabKid, eabKey, "operator@example.com"
	start(t, s, ca, c, how{})
	s.wantVisit(t, hostName)
}

// TestFromAutocert: what autocert has got, as derper uses it, is served without asking the
// CA, and renewed by the same account: the CA would want a new one bound.
func TestFromAutocert(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := startCA(t, s, true)
	dir := t.TempDir()
	c := certs.ACMEConfig{CacheDir: dir, Hostname: hostName}
	secret, err := base64.RawURLEncoding.DecodeString(eabKey)
	if err != nil {
		t.Fatal(err)
	}
	m := &autocert.Manager{Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(dir),
		HostPolicy:             autocert.HostWhitelist(hostName),
		Client:                 &acme.Client{DirectoryURL: ca.directory, HTTPClient: ca.client},
		ExternalAccountBinding: &acme.ExternalAccountBinding{KID: eabKid, Key: secret}}
	s.serve(t, &tls.Config{GetCertificate: m.GetCertificate,
		NextProtos: []string{"http/1.1", acme.ALPNProto}}, m.HTTPHandler(http.NotFoundHandler()))
	theirs, err := m.GetCertificate(modern(hostName))
	if err != nil {
		t.Fatal(err)
	}

	a, stop := start(t, s, ca, c, how{})
	if !s.wantVisit(t, hostName).Equal(theirs.Leaf) {
		t.Error("another certificate")
	}
	if got := a.Stats(); got.Misses != 0 || got.Issued != 0 {
		t.Errorf("%+v", got)
	}
	stop()
	start(t, s, ca, c, how{ahead: renewalDue})
	s.wantRenewal(t, hostName, theirs.Leaf)
}

// TestToAutocert: what we have got is served by autocert without asking the CA.
func TestToAutocert(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ca := startCA(t, s, false)
	c := certs.ACMEConfig{CacheDir: t.TempDir(), Hostname: hostName}
	_, stop := start(t, s, ca, c, how{})
	ours := s.wantVisit(t, hostName)
	stop()
	m := &autocert.Manager{Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(c.CacheDir),
		HostPolicy: autocert.HostWhitelist(hostName),
		Client:     &acme.Client{DirectoryURL: "https://127.0.0.1:1/nobody"}}
	theirs, err := m.GetCertificate(modern(hostName))
	if err != nil {
		t.Fatal(err)
	}
	if !theirs.Leaf.Equal(ours) {
		t.Error("another certificate")
	}
}

// modern is the hello of a client that takes ECDSA.
func modern(name string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{ServerName: name,
		SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
		SupportedCurves:  []tls.CurveID{tls.CurveP256},
		CipherSuites:     []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
}
