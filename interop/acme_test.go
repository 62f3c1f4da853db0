package interop

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"derpd/interop/harness"

	"tailscale.com/types/key"
)

// silentServer accepts connections, and never says a word.
func silentServer(t *testing.T) (addr string, accepted <-chan struct{}) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan struct{}, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			select {
			case first <- struct{}{}:
			default:
			}
		}
	}()
	t.Cleanup(func() { l.Close() })
	return l.Addr().String(), first
}

// storeAsACME writes the relay's certificate where autocert keeps one: its key, in SEC 1, and
// the chain in one file with the host's name. It returns the folder.
func storeAsACME(t *testing.T, r *harness.Relay) string {
	base := filepath.Join(r.Dir, r.Hostname)
	pair, err := tls.LoadX509KeyPair(base+".crt", base+".key")
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(pair.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	for _, cert := range pair.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})...)
	}
	dir := filepath.Join(r.Dir, "acme")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, r.Hostname), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSilentACME: while an ACME server takes a request and never answers it, clients log in with
// the stored certificate as fast as they do at a relay that asks nobody.
func TestSilentACME(t *testing.T) {
	long(t, "it measures, which busy cores disturb")
	derpdOnly(t, "takes no other ACME server than its own")
	directory, accepted := silentServer(t)
	manual := harness.Start(t, harness.Options{TLS: true})
	r, args := harness.Prepare(t, harness.Options{TLS: true})
	r.Run(t, append(args, "-certmode", "letsencrypt", "-certdir", storeAsACME(t, r),
		"-acme-directory", "https://"+directory+"/directory", "-acme-ip-certs"))

	// A client without a name wants a certificate for the address, for which the server is asked.
	// It is refused at once, and so is not kept waiting either.
	start := time.Now()
	c, err := tls.Dial("tcp", r.Addr, &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		c.Close()
		t.Error("a client without a name was served a certificate that nobody has issued")
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it was refused after %v", took)
	}
	select {
	case <-accepted:
	case <-time.After(harness.ReplyWaitMax):
		t.Fatal("the ACME server was not asked")
	}

	const logins, rounds = 60, 4
	best := map[*harness.Relay]time.Duration{manual: time.Hour, r: time.Hour}
	for range rounds {
		for relay := range best {
			start := time.Now()
			for range logins {
				if !relay.Admits(t, key.NewNode()) {
					t.Fatal("a login failed")
				}
			}
			best[relay] = min(best[relay], time.Since(start))
		}
	}
	t.Logf("%d logins: %v with files, %v beside a silent ACME server", logins, best[manual], best[r])
	if best[r] > best[manual]*3/2 {
		t.Errorf("%d logins take %v beside a silent ACME server, %v without", logins, best[r],
			best[manual])
	}
	if n := r.Metrics(t)["derp_certificates_issued"]; n != 0 {
		t.Errorf("%v certificates were issued by a server that says nothing", n)
	}
}

// leafOf returns the certificate that a relay serves for its name.
func leafOf(t *testing.T, r *harness.Relay) []byte {
	c := r.Dial(t).(*tls.Conn)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Raw
}

// TestStoredCertificate: a certificate in autocert's layout is served as it is, over restarts.
func TestStoredCertificate(t *testing.T) {
	t.Parallel()
	derpdOnly(t, "asks Let's Encrypt")
	directory, _ := silentServer(t)
	r, args := harness.Prepare(t, harness.Options{TLS: true})
	dir := storeAsACME(t, r)
	stored, err := os.ReadFile(filepath.Join(dir, r.Hostname))
	if err != nil {
		t.Fatal(err)
	}
	_, chain, _ := strings.Cut(string(stored), "-----END EC PRIVATE KEY-----\n")
	want, _ := pem.Decode([]byte(chain))
	for range 2 {
		again, _ := harness.Prepare(t, harness.Options{TLS: true})
		again.Addr, again.STUNAddr, again.Certs, again.Dir = r.Addr, r.STUNAddr, r.Certs, r.Dir
		again.Run(t, append(args, "-certmode", "letsencrypt", "-certdir", dir,
			"-acme-directory", "https://"+directory+"/directory"))
		if !bytes.Equal(leafOf(t, again), want.Bytes) {
			t.Error("another certificate than the stored one is served")
		}
		again.Stop(t)
	}
	if now, err := os.ReadFile(filepath.Join(dir, r.Hostname)); err != nil ||
		!bytes.Equal(now, stored) {
		t.Errorf("the stored certificate was changed: %v", err)
	}
}
