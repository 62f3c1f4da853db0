package tlsengine

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const opensslTimeout = 10 * time.Second

// openssl is a running openssl tool: what it says, and its standard input.
type openssl struct {
	stdin io.Writer
	mu    sync.Mutex
	said  bytes.Buffer
	more  chan struct{} // capacity 1: said has grown
	seen  int           // of said, by await
}

func (o *openssl) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
	return o.said.Write(b)
}

// startOpenSSL starts the tool; it is ended with the test.
func startOpenSSL(t *testing.T, args ...string) *openssl {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl tool on this machine")
	}
	o := &openssl{more: make(chan struct{}, 1)}
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = o, o
	if o.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return o
}

// await waits for text behind what was awaited before, and returns the rest of its line.
func (o *openssl) await(t *testing.T, text string) string {
	t.Helper()
	deadline := time.After(opensslTimeout)
	for {
		o.mu.Lock()
		s := o.said.String()[o.seen:]
		if i := strings.Index(s, text); i >= 0 {
			i += len(text)
			if line, _, whole := strings.Cut(s[i:], "\n"); whole {
				o.seen += i
				o.mu.Unlock()
				return line
			}
		}
		o.mu.Unlock()
		select {
		case <-o.more:
		case <-deadline:
			t.Fatalf("openssl does not say %q but:\n%s", text, s)
		}
	}
}

// tell writes one line. OpenSSL takes a command only at the start of what it reads, so tell is used
// after await.
func (o *openssl) tell(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(o.stdin, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// pemFiles writes an identity for OpenSSL.
func pemFiles(t *testing.T, id identity) (cert, key string) {
	t.Helper()
	var block pem.Block
	switch k := id.cert.PrivateKey.(type) {
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		block = pem.Block{Type: "EC PRIVATE KEY", Bytes: der}
	case *rsa.PrivateKey:
		block = pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.cert.Certificate[0]})
	err := errors.Join(os.WriteFile(cert, certPEM, 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&block), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// opensslSuite returns OpenSSL's options that allow one suite only.
func opensslSuite(su *suite) []string {
	name := tls.CipherSuiteName(su.id)
	if su.version == v13 {
		return []string{"-tls1_3", "-ciphersuites", name}
	}
	name = strings.NewReplacer("TLS_", "", "_WITH_", "-", "_SHA256", "-SHA256", "_SHA384", "-SHA384",
		"AES_128_GCM", "AES128-GCM", "AES_256_GCM", "AES256-GCM", "_", "-").Replace(name)
	return []string{"-tls1_2", "-cipher", strings.Replace(name, "POLY1305-SHA256", "POLY1305", 1)}
}

func identityFor(su *suite) identity {
	if strings.Contains(tls.CipherSuiteName(su.id), "ECDHE_RSA") {
		return rsaID()
	}
	return ecdsaID()
}

// TestServerWithOpenSSL: s_client talks to our server, which echoes, and both change keys.
func TestServerWithOpenSSL(t *testing.T) {
	allSuites(t, func(t *testing.T, su *suite) {
		e := mustServer(t, serverConfig(identityFor(su)))
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		result := make(chan error, 1)
		go func() {
			conn, err := ln.Accept()
			if err != nil {
				result <- err
				return
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(opensslTimeout))
			p := &endpoint{conn: conn}
			err = p.handshake(e.New(conn.LocalAddr(), conn.RemoteAddr()))
			if err == nil {
				err = p.echo()
			}
			result <- errors.Join(err, suiteIs(p, su))
		}()

		args := append([]string{"s_client", "-connect", ln.Addr().String(), "-servername", testName},
			opensslSuite(su)...)
		o := startOpenSSL(t, args...)
		// The session is printed ahead of data; in 1.3 there is no ticket to wait for.
		o.await(t, "Verify return code")
		lines := []string{"one", "two", "three"}
		if su.version == v13 {
			lines = []string{"one", "K", "two", "k", "three", "K", "K", "four"}
		}
		for _, line := range lines {
			o.tell(t, line)
			if strings.EqualFold(line, "k") {
				o.await(t, "KEYUPDATE")
			} else {
				o.await(t, line)
			}
		}
		o.tell(t, "Q")
		if err := <-result; err != nil {
			t.Fatal(err)
		}
	})
}

func suiteIs(p *endpoint, su *suite) error {
	if p.Version() != su.version || p.Suite() != su.id {
		return errors.New("another version or suite was negotiated")
	}
	return nil
}

// TestClientWithOpenSSL: our client talks to s_server, which sends tickets and changes keys.
func TestClientWithOpenSSL(t *testing.T) {
	allSuites(t, func(t *testing.T, su *suite) {
		id := identityFor(su)
		cert, key := pemFiles(t, id)
		args := append([]string{"s_server", "-accept", "127.0.0.1:0", "-naccept", "1",
			"-cert", cert, "-key", key}, opensslSuite(su)...)
		o := startOpenSSL(t, args...)
		conn, err := net.Dial("tcp", strings.TrimSpace(o.await(t, "ACCEPT")))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(opensslTimeout))
		p := &endpoint{conn: conn}
		err = p.handshake(mustClient(t, clientConfig(id)).New(nil, nil))
		if err := errors.Join(err, suiteIs(p, su)); err != nil {
			t.Fatal(err)
		}

		// There and back, again and again; each text is told once, so both keys are in step.
		round := func(text string) {
			t.Helper()
			if err := p.write([]byte(text + " to the server\n")); err != nil {
				t.Fatal(err)
			}
			o.await(t, text+" to the server")
			o.tell(t, text+" to the client")
			if err := p.expect([]byte(text + " to the client\n")); err != nil {
				t.Fatal(err)
			}
		}
		round("first")
		if su.version == v13 {
			for _, command := range []string{"k", "K", "K"} {
				o.tell(t, command)
				for before := p.open.secret; p.open.secret == before; {
					if plain, err := p.readRecord(); plain != nil || err != nil {
						t.Fatalf("instead of a KeyUpdate: %q, %v", plain, err)
					}
				}
				round("after " + command)
			}
			p.flags |= flagRekey
			round("after ours")
			lowerRekey(t, p.open.seq) // now the server is asked as well
			p.flags |= flagRekey
			before := p.open.secret
			round("after asking")
			if p.flags&flagAsked != 0 || p.open.secret == before {
				t.Error("OpenSSL did not answer our request")
			}
		}
		if _, err := conn.Write(p.AppendClose(nil)); err != nil {
			t.Fatal(err)
		}
		o.await(t, "DONE")
	})
}
