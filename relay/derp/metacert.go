package derp

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// metaCertPrefix stands before the server's key in the meta certificate's common name.
const metaCertPrefix = "derpkey"

// MetaCert makes the certificate (DER) that a server appends to its TLS chain so that a
// client learns the server's key, and the protocol version as the serial number, from the
// handshake, and can send its login without waiting for a greeting. It is signed with a
// throw-away Ed25519 key and proves nothing: the login box does.
func MetaCert(server Key, now time.Time) ([]byte, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("derp: no key for the meta certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(ProtocolVersion),
		Subject:      pkix.Name{CommonName: metaCertPrefix + server.Hex()},
		NotBefore:    now.Add(-metaCertDays * 24 * time.Hour),
		NotAfter:     now.Add(metaCertDays * 24 * time.Hour),
		// Apple's verifier wants BasicConstraints where subject and issuer are the same.
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return nil, fmt.Errorf("derp: the meta certificate cannot be made: %w", err)
	}
	return der, nil
}

// KeyFromMetaCert reads what MetaCert wrote; ok is false for any other certificate. The
// signature is not checked, as it would prove nothing.
func KeyFromMetaCert(cert *x509.Certificate) (server Key, version int, ok bool) {
	digits, ok := strings.CutPrefix(cert.Subject.CommonName, metaCertPrefix)
	serial := cert.SerialNumber
	if !ok || len(digits) != 2*KeyLen || serial == nil || serial.Sign() < 0 ||
		serial.BitLen() > 8 {
		return Key{}, 0, false
	}
	if _, err := hex.Decode(server[:], []byte(digits)); err != nil {
		return Key{}, 0, false
	}
	return server, int(serial.Int64()), true
}
