package main

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// withoutRoots in the environment has TestTrustSomeone run in a process that may call it.
const withoutRoots = "TEST_WITHOUT_ROOTS"

// TestTrustSomeone: where the system has no authorities, those of the program vouch.
func TestTrustSomeone(t *testing.T) {
	if os.Getenv(withoutRoots) == "" {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestTrustSomeone$", "-test.v")
		cmd.Env = append(os.Environ(), withoutRoots+"=1", "SSL_CERT_FILE="+t.TempDir()+"/none",
			"SSL_CERT_DIR="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := trustSomeone(); err != nil {
		t.Fatal(err)
	}
	for root := range bundle.Roots() {
		cert, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cert.Verify(x509.VerifyOptions{}); err != nil {
			t.Errorf("%v is not trusted: %v", cert.Subject, err)
		}
		return
	}
}
