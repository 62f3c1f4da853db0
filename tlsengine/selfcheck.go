package tlsengine

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// SelfCheck does one handshake of each version with itself, in memory, and sends data and
// KeyUpdates both ways. It fails if this program's crypto/tls does not behave as the hand-over
// needs. A few milliseconds; for a program to call before it listens.
func SelfCheck() error {
	cert, err := selfCheckCertificate()
	if err != nil {
		return fmt.Errorf("tlsengine: self-check: %w", err)
	}
	for _, version := range []uint16{v13, v12} {
		if err := selfCheckVersion(cert, version); err != nil {
			return fmt.Errorf("tlsengine: self-check of %s with this toolchain's crypto/tls: %w",
				tls.VersionName(version), err)
		}
	}
	return nil
}

func selfCheckCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "self-check"},
		NotAfter:     time.Unix(1<<32, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func selfCheckVersion(cert tls.Certificate, version uint16) error {
	server, err := NewServer(&tls.Config{
		Certificates: []tls.Certificate{cert}, MaxVersion: version,
	})
	if err != nil {
		return err
	}
	// The certificate is the one made a moment ago; nobody else is on the line.
	client, err := NewClient(&tls.Config{InsecureSkipVerify: true, MaxVersion: version})
	if err != nil {
		return err
	}
	var c, s Session
	defer c.Wipe()
	defer s.Wipe()
	if err := handshakeInMemory(client, server, &c, &s); err != nil {
		return err
	}
	if c.Version() != version || s.Version() != version {
		return fmt.Errorf("negotiated %#04x and %#04x", c.Version(), s.Version())
	}
	return exchange(&c, &s)
}

// handshakeInMemory leads a client and a server of this package to each other.
func handshakeInMemory(client, server *Engine, c, s *Session) error {
	hc, hs := client.New(nil, nil), server.New(nil, nil)
	defer hc.Stop()
	defer hs.Stop()

	const flightsMax = 8 // a handshake with a retry takes 5
	var toClient []byte
	var clientDone, serverDone bool
	for range flightsMax {
		var toServer []byte
		var err error
		if toServer, clientDone, err = hc.Step(toClient); err != nil {
			return err
		}
		if clientDone && serverDone { // TLS 1.2, where the server ends first
			break
		}
		if toClient, serverDone, err = hs.Step(toServer); err != nil {
			return err
		}
		if clientDone && serverDone {
			break
		}
	}
	if !clientDone || !serverDone {
		return errors.New("handshake does not come to an end")
	}
	for _, end := range []struct {
		h *Handshake
		s *Session
	}{{hc, c}, {hs, s}} {
		rest, _, err := end.h.Finish(end.s)
		if err != nil {
			return err
		}
		if len(rest) != 0 {
			return fmt.Errorf("%d bytes were written after the handshake", len(rest))
		}
	}
	return nil
}

// exchange sends data both ways; in TLS 1.3 with new keys in between.
func exchange(a, b *Session) error {
	for round := range 4 {
		for _, way := range []struct{ from, to *Session }{{a, b}, {b, a}} {
			if a.version == v13 && round%2 == 1 {
				way.from.flags |= flagRekey
			}
			if err := passControl(way.from, way.to); err != nil {
				return err
			}
			text := []byte("self-check")
			rec := append(way.from.SealStart(nil), text...)
			rec = way.from.SealFinish(rec, 0)
			plain, err := way.to.Open(rec)
			if err != nil {
				return err
			}
			if !bytes.Equal(plain, text) {
				return errors.New("data came out changed")
			}
		}
	}
	return nil
}

func passControl(from, to *Session) error {
	rec := from.AppendControl(nil)
	if len(rec) == 0 {
		return nil
	}
	plain, err := to.Open(rec)
	if err == nil && plain != nil {
		err = errors.New("KeyUpdate brought data")
	}
	return err
}
