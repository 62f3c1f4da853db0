package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
)

// writePair writes a certificate and its key, the key first and for its owner only.
func writePair(c *tls.Certificate, dir, crt, key string) error {
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("-certdir %s cannot be made: %w", dir, err)
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	crtPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
	if err := os.WriteFile(key, keyPEM, 0o600); err != nil {
		return fmt.Errorf("self-signed certificate: %w: choose a -certdir that can be written", err)
	}
	if err := os.WriteFile(crt, crtPEM, 0o644); err != nil {
		return fmt.Errorf("self-signed certificate: %w: choose a -certdir that can be written", err)
	}
	return nil
}
