package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certLifetime is above the seven days under which derpprobe calls a certificate expiring.
const certLifetime = 90 * 24 * time.Hour

// Certs are the files of one relay's certificate, signed by an authority made for it.
type Certs struct {
	Dir    string         // what -certdir takes: <hostname>.crt and <hostname>.key
	CAFile string         // the authority in PEM, for SSL_CERT_FILE and s_client
	Pool   *x509.CertPool // the same for Go clients
}

// WriteCerts makes an authority and a P-256 certificate for hostname, and writes both into dir.
func WriteCerts(t testing.TB, dir, hostname string) Certs {
	t.Helper()
	caKey, caTemplate := newTemplate(t, "derpd interop authority")
	caTemplate.IsCA = true
	caTemplate.KeyUsage = x509.KeyUsageCertSign
	caDER := sign(t, caTemplate, caTemplate, caKey, caKey)

	leafKey, leaf := newTemplate(t, hostname)
	leaf.DNSNames = []string{hostname}
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leafDER := sign(t, leaf, caTemplate, leafKey, caKey)
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}

	c := Certs{Dir: dir, CAFile: filepath.Join(dir, "ca.pem"), Pool: x509.NewCertPool()}
	writePEM(t, c.CAFile, "CERTIFICATE", caDER)
	writePEM(t, filepath.Join(dir, hostname+".crt"), "CERTIFICATE", leafDER)
	writePEM(t, filepath.Join(dir, hostname+".key"), "PRIVATE KEY", keyDER)
	ca, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	c.Pool.AddCert(ca)
	return c
}

func newTemplate(t testing.TB, name string) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	return key, &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(certLifetime),
		BasicConstraintsValid: true,
	}
}

func sign(t testing.TB, c, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(path, block, 0o600); err != nil {
		t.Fatal(err)
	}
}
