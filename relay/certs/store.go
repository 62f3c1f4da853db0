package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"derpd/relay/derp"
)

const (
	// lookEvery is how often the files are looked at. A stat costs microseconds and
	// certificates are renewed days before they end.
	lookEvery = 5 * time.Second
	// metaEvery is how often the meta certificate is made anew; it is valid for 30 days.
	metaEvery = 24 * time.Hour
	// selfSignedFor is the validity of a certificate of our own making.
	selfSignedFor = 365 * 24 * time.Hour
	// endToldBefore: when this is left of a certificate that derpd does not renew, or an endToldPart
	// of its life if that is less, it is told, every endToldEvery.
	endToldBefore = 30 * 24 * time.Hour
	endToldPart   = 4
	endToldEvery  = 24 * time.Hour
)

// Store serves one certificate for one host name.
type Store struct {
	hostname string // "" accepts any SNI
	server   derp.Key
	load     func() (*tls.Certificate, error)
	files    []string
	// unwritten writes a pair of our own making; nil when there is nothing to write.
	unwritten func() error
	remedy    string // when the certificate is about to end
	log       *slog.Logger

	// current is what handshakes serve: swapped whole by refresh, read by any goroutine.
	current atomic.Pointer[tls.Certificate]

	// The rest is the refresher's.
	pair    *tls.Certificate // in current, without the meta certificate
	stamp   []fileStamp
	metaAt  time.Time
	failing string    // why the files did not load at the last look; "" if they did
	endTold time.Time // when it was last told that the certificate is about to end
}

type fileStamp struct {
	modified time.Time
	size     int64
}

// GetCertificate implements the callback of tls.Config.
func (s *Store) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.hostname != "" && hello.ServerName != s.hostname {
		return nil, fmt.Errorf("certs: asked for %q, this server is %q", hello.ServerName,
			s.hostname)
	}
	return s.current.Load(), nil
}

var unsafeInName = regexp.MustCompile(`[^A-Za-z0-9.-]`)

// Files returns where the certificate and key of a host name are expected in dir.
func Files(dir, hostname string) (crt, key string) {
	base := filepath.Join(dir, unsafeInName.ReplaceAllString(hostname, ""))
	return base + ".crt", base + ".key"
}

// Manual reads <dir>/<hostname>.crt and .key. For an address as hostname, with no such
// files there, it makes a self-signed pair, which Serve writes there so that its fingerprint
// stays the same. Nothing is written before Serve.
func Manual(dir, hostname string, log *slog.Logger) (*Store, error) {
	crt, key := Files(dir, hostname)
	s := &Store{files: []string{crt, key}, log: log,
		remedy: "put a new pair into " + crt + " and " + key + "; it is served without a restart"}
	s.load = func() (*tls.Certificate, error) { return loadPair(crt, key, hostname) }
	if net.ParseIP(hostname) == nil {
		s.hostname = hostname
	} else if _, err := os.Stat(crt); errors.Is(err, os.ErrNotExist) {
		pair, err := selfSigned(hostname)
		if err != nil {
			return nil, err
		}
		s.unwritten = func() error { return writePair(pair, dir, crt, key) }
		return s, nil
	}
	s.stamp = s.stamps()
	_, err := s.load()
	return s, err
}

func loadPair(crt, key, hostname string) (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(crt, key)
	if err != nil {
		return nil, explain(err, crt, key)
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", crt, err)
	}
	if err := leaf.VerifyHostname(hostname); err != nil {
		return nil, fmt.Errorf("certificate %s is not for %q (%v): get one for this name "+
			"or give its name with -hostname", crt, hostname, err)
	}
	return &c, nil
}

// SelfSigned serves a certificate made now and kept in memory, under any name.
func SelfSigned(hostname string, log *slog.Logger) (*Store, error) {
	pair, err := selfSigned(hostname)
	if err != nil {
		return nil, err
	}
	return &Store{log: log, load: func() (*tls.Certificate, error) { return pair, nil },
		remedy: "restart derpd, which makes a new one; its CertName is new too"}, nil
}

// Serve puts the certificate in service for a server with that key. made tells that a pair
// was written to disk.
func (s *Store) Serve(server derp.Key) (made bool, err error) {
	s.server = server
	if s.unwritten != nil {
		if err := s.unwritten(); err != nil {
			return false, err
		}
		s.unwritten, made = nil, true
		s.stamp = s.stamps()
	}
	now := time.Now()
	if err := s.renew(now); err != nil {
		return made, err
	}
	s.tellEnd(now)
	return made, nil
}

// NotAfter returns when the certificate in service ends.
func (s *Store) NotAfter() time.Time { return s.current.Load().Leaf.NotAfter }

func explain(err error, crt, key string) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("-certmode manual needs %s and %s, but %w: put them there or choose "+
			"another -certdir", crt, key, err)
	}
	return fmt.Errorf("certificate %s with key %s: %w: replace them by a matching pair in PEM",
		crt, key, err)
}

// renew loads the pair and puts it in service.
func (s *Store) renew(now time.Time) error {
	pair, err := s.load()
	if err != nil {
		return err
	}
	return s.put(pair, now)
}

// put puts a pair in service with a fresh meta certificate.
func (s *Store) put(pair *tls.Certificate, now time.Time) error {
	meta, err := derp.MetaCert(s.server, now)
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return err
	}
	with := withMeta(pair, meta)
	with.Leaf = leaf
	s.current.Store(with)
	s.pair, s.metaAt = pair, now
	return nil
}

// Watch serves changed files from the moment they are whole, until ctx ends. A pair that
// does not load is reported once for each reason, and the old one stays in service.
func (s *Store) Watch(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			now := time.Now()
			s.look(now)
			s.tellEnd(now)
		}
	}
}

func (s *Store) look(now time.Time) {
	stamp := s.stamps()
	changed := !slices.Equal(stamp, s.stamp)
	due := now.Sub(s.metaAt) >= metaEvery
	// What has not loaded is tried at each look: to put a permission right changes no stamp.
	if !changed && !due && s.failing == "" {
		return
	}
	s.stamp = stamp
	before := s.pair
	err := s.renew(now)
	if err == nil {
		s.tellLoaded(before, changed)
		s.failing = ""
		return
	}
	if due {
		// Clients must go on finding a valid meta certificate however long the files are broken.
		err = errors.Join(err, s.put(before, now))
	}
	if text := err.Error(); text != s.failing {
		s.failing = text
		s.log.Error("certificate not replaced; the old one stays in service", "error", text)
	}
}

// tellLoaded logs what a look has put in service, if files or the success of loading changed.
func (s *Store) tellLoaded(before *tls.Certificate, changed bool) {
	if !changed && s.failing == "" {
		return
	}
	what := "certificate replaced"
	if bytes.Equal(before.Certificate[0], s.pair.Certificate[0]) {
		what = "certificate files loaded anew; the certificate is the same"
	}
	s.endTold = time.Time{} // if it ends soon too, that is told at once
	s.log.Info(what, "file", s.files[0], "until", s.NotAfter())
}

// tellEnd warns once a day of a certificate that has ended or is about to.
func (s *Store) tellEnd(now time.Time) {
	leaf := s.current.Load().Leaf
	// Who renews certificates does so when a third of their life is left, as a rule.
	before := min(endToldBefore, leaf.NotAfter.Sub(leaf.NotBefore)/endToldPart)
	left := leaf.NotAfter.Sub(now)
	if left >= before || now.Sub(s.endTold) < endToldEvery {
		return
	}
	s.endTold = now
	what := "certificate is about to end"
	if left <= 0 {
		what = "certificate has ended; clients refuse it"
	}
	s.log.Warn(what, "for", leaf.Subject, "until", leaf.NotAfter, "remedy", s.remedy)
}

func (s *Store) stamps() []fileStamp {
	out := make([]fileStamp, len(s.files))
	for i, f := range s.files {
		if st, err := os.Stat(f); err == nil {
			out[i] = fileStamp{st.ModTime(), st.Size()}
		}
	}
	return out
}

// Pin returns the CertName by which a DERP map pins the certificate in service.
func (s *Store) Pin() string {
	sum := sha256.Sum256(s.current.Load().Certificate[0])
	return "sha256-raw:" + hex.EncodeToString(sum[:])
}

func selfSigned(hostname string) (*tls.Certificate, error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: hostname},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(selfSignedFor),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if ip := net.ParseIP(hostname); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else {
		tmpl.DNSNames = []string{strings.TrimSuffix(hostname, ".")}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &priv.PublicKey, priv)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}, nil
}
