package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"derpd/relay/derp"
)

const (
	hostName = "relay.example.com"
	day      = 24 * time.Hour
)

var serverKey = derp.Key{1, 2, 3}

// confFor returns a configuration with a directory that is not there yet.
func confFor(t *testing.T, ca *fakeCA) ACMEConfig {
	return ACMEConfig{Directory: fakeBase + "/directory", HTTPClient: ca.client(),
		CacheDir: filepath.Join(t.TempDir(), "certs"), Hostname: hostName}
}

// start makes an Auto and runs it until the test, or stop, ends it. It looks once an hour: months of
// virtual time in few looks.
func start(t *testing.T, ca *fakeCA, c ACMEConfig) (a *Auto, stop func()) {
	t.Helper()
	return startLooking(t, ca, c, time.Hour)
}

// startLooking is start with a time between looks.
func startLooking(t *testing.T, ca *fakeCA, c ACMEConfig, every time.Duration) (a *Auto, stop func()) {
	t.Helper()
	a, err := ACME(c)
	if err != nil {
		t.Fatal(err)
	}
	a.period = every
	ca.set(func() { ca.auto, ca.port80 = a, a.HTTPHandler(http.NotFoundHandler()) })
	if err := a.Serve(serverKey); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		a.Watch(ctx)
		close(ended)
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return a, stop
}

// connTo is a connection of which only the local address is known.
type connTo struct {
	net.Conn
	local net.Addr
}

func (c connTo) LocalAddr() net.Addr { return c.local }

func hello(name string) *tls.ClientHelloInfo { return &tls.ClientHelloInfo{ServerName: name} }

func helloAt(local, name string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{ServerName: name,
		Conn: connTo{local: &net.TCPAddr{IP: net.ParseIP(local), Port: 443}}}
}

// wantServed checks a certificate that handshakes get, and returns it.
func wantServed(t *testing.T, a *Auto, h *tls.ClientHelloInfo, name string) *x509.Certificate {
	t.Helper()
	pair, err := a.GetCertificate(h)
	if err != nil {
		t.Fatal(err)
	}
	if err := pair.Leaf.VerifyHostname(name); err != nil {
		t.Error(err)
	}
	if n := len(pair.Certificate); n != 3 {
		t.Fatalf("%d certificates, want leaf, issuer and meta certificate", n)
	}
	meta, err := x509.ParseCertificate(pair.Certificate[2])
	if err != nil {
		t.Fatal(err)
	}
	if key, _, ok := derp.KeyFromMetaCert(meta); !ok || key != serverKey {
		t.Errorf("the last certificate is of %v", meta.Subject)
	}
	if now := time.Now(); now.After(meta.NotAfter) {
		t.Errorf("the meta certificate ended %v", meta.NotAfter)
	}
	return pair.Leaf
}

func wantMiss(t *testing.T, a *Auto, h *tls.ClientHelloInfo, part string) {
	t.Helper()
	pair, err := a.GetCertificate(h)
	if err == nil {
		t.Fatalf("served %v", pair.Leaf.Subject)
	}
	if !strings.Contains(err.Error(), part) {
		t.Errorf("%v, want %q in it", err, part)
	}
}

func TestACMERefusesConfig(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*ACMEConfig)
		want   string // in the error; "" for none
	}{
		{"name", func(c *ACMEConfig) {}, ""},
		{"capitals", func(c *ACMEConfig) { c.Hostname = "Relay.Example.COM." }, ""},
		{"no dir", func(c *ACMEConfig) { c.CacheDir = "" }, "-certdir"},
		{"no host", func(c *ACMEConfig) { c.Hostname = "" }, `-hostname ""`},
		{"one label", func(c *ACMEConfig) { c.Hostname = "relay" }, `"relay"`},
		{"path", func(c *ACMEConfig) { c.Hostname = "../a.b" }, "-hostname"},
		{"empty label", func(c *ACMEConfig) { c.Hostname = "a..b" }, "-hostname"},
		{"account file", func(c *ACMEConfig) { c.Hostname = "acme_account.key" }, "-hostname"},
		{"not ASCII", func(c *ACMEConfig) { c.Hostname = "münchen.example" }, "xn--"},
		{"long", func(c *ACMEConfig) { c.Hostname = strings.Repeat("a.", 127) + "com" }, "-hostname"},
		{"directory", func(c *ACMEConfig) { c.Directory = "letsencrypt" }, `"letsencrypt"`},
		{"address", func(c *ACMEConfig) { c.Hostname = "192.0.2.1" }, "-acme-ip-certs"},
		{"address with IPs", func(c *ACMEConfig) { c.Hostname, c.IPs = "192.0.2.1", true }, ""},
		{"IPs", func(c *ACMEConfig) { c.IPs = true }, ""},
		{"gcp alone", func(c *ACMEConfig) { c.Directory = GoogleDirectory }, "-acme-eab-kid"},
		{"gcp without email", func(c *ACMEConfig) {
			c.Directory, c.EABKid, c.EABKey = GoogleDirectory, "kid", "a2V5"
		}, "-acme-email"},
		{"gcp", func(c *ACMEConfig) {
			c.Directory, c.EABKid, c.EABKey, c.Email = GoogleDirectory, "kid", "a2V5", "a@b.c"
		}, ""},
		{"gcp with IPs", func(c *ACMEConfig) {
			c.Directory, c.EABKid, c.EABKey, c.Email = GoogleDirectory, "kid", "a2V5", "a@b.c"
			c.IPs = true
		}, "-acme-ip-certs"},
		{"another CA with a binding and IPs", func(c *ACMEConfig) {
			c.Directory, c.EABKid, c.EABKey = "https://ca.example.com/directory", "kid", "a2V5"
			c.IPs = true
		}, ""},
		{"half a binding", func(c *ACMEConfig) { c.EABKid = "kid" }, "-acme-eab-key"},
		{"binding", func(c *ACMEConfig) { c.EABKid, c.EABKey = "kid", "key!" }, "base64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "certs")
			c := ACMEConfig{CacheDir: dir, Hostname: hostName}
			tt.change(&c)
			_, err := ACME(c)
			if tt.want == "" && err != nil {
				t.Fatal(err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("%v, want %q in it", err, tt.want)
			}
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("the directory was touched: %v", err)
			}
		})
	}
}

func TestEABKeyAlphabets(t *testing.T) {
	secret := []byte{0xfb, 0xff, 0xfe, 1}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding,
		base64.URLEncoding, base64.RawURLEncoding} {
		b, err := eab("kid", e.EncodeToString(secret))
		if err != nil {
			t.Fatal(err)
		}
		if b.KID != "kid" || !slices.Equal(b.Key, secret) {
			t.Errorf("%s: %v", e.EncodeToString(secret), b)
		}
	}
}

func TestServeNeedsWritableDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := ACME(ACMEConfig{CacheDir: filepath.Join(file, "certs"), Hostname: hostName})
	if err == nil {
		err = a.Serve(serverKey)
	}
	if err == nil || !strings.Contains(err.Error(), "-certdir "+file) {
		t.Errorf("%v", err)
	}
}

// TestIssue: a name is certified at once, by either validation, and kept as autocert does.
func TestIssue(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*fakeCA)
		orders int
	}{
		{"tls-alpn-01", func(*fakeCA) {}, 1},
		{"http-01 after a failure", func(ca *fakeCA) { ca.fails[tlsALPN01] = true }, 2},
		{"http-01 offered alone", func(ca *fakeCA) { ca.offers = []string{http01} }, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := newFakeCA(t)
				tt.change(ca)
				c := confFor(t, ca)
				a, stop := start(t, ca, c)
				wantMiss(t, a, hello(hostName), "no certificate for relay.example.com yet")
				synctest.Wait()
				leaf := wantServed(t, a, hello(hostName), hostName)
				wantServed(t, a, hello("Relay.EXAMPLE.com"), hostName)
				wantMiss(t, a, hello("other.example.com"), `"other.example.com"`)
				wantMiss(t, a, hello(""), `asked for ""`)
				if n := ca.ordered(); n != tt.orders {
					t.Errorf("%d orders, want %d", n, tt.orders)
				}
				want := Stats{Misses: 1, Refused: 2, Validated: uint64(tt.orders), Issued: 1,
					NotAfter: leaf.NotAfter}
				if ca.offers[0] == http01 {
					want.Validated--
				}
				if got := a.Stats(); got != want {
					t.Errorf("%+v, want %+v", got, want)
				}
				a.challenges.certs.Range(func(name, _ any) bool {
					t.Errorf("%v can still be validated", name)
					return true
				})
				a.challenges.bodies.Range(func(path, _ any) bool {
					t.Errorf("%v is still answered", path)
					return true
				})
				stop()
				wantFiles(t, c.CacheDir, "acme_account+key", hostName)
				wantRestart(t, ca, c, leaf)
			})
		})
	}
}

// wantRestart checks that another Auto serves what is stored, without asking the CA.
func wantRestart(t *testing.T, ca *fakeCA, c ACMEConfig, leaf *x509.Certificate) {
	t.Helper()
	asked := ca.requests
	b, _ := start(t, ca, c)
	if got := wantServed(t, b, hello(hostName), hostName); !got.Equal(leaf) {
		t.Error("another certificate after a restart")
	}
	synctest.Wait()
	if ca.requests != asked {
		t.Errorf("%d requests to the CA after a restart", ca.requests-asked)
	}
}

// wantFiles checks what is in a directory, for its owner only where that matters.
func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode(); mode != 0o600 && !strings.HasSuffix(e.Name(), ".crt") {
			t.Errorf("%s has mode %v", e.Name(), mode)
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
}

// writeAutocert writes a certificate where autocert's cache has it.
func writeAutocert(t *testing.T, ca *fakeCA, c ACMEConfig) {
	t.Helper()
	if err := os.MkdirAll(c.CacheDir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(c.CacheDir, hostName)
	if err := os.WriteFile(file, []byte(autocertText(t, ca, hostName)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// autocertText is a certificate in the format of autocert's cache.
func autocertText(t *testing.T, ca *fakeCA, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := encodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(append(text, ca.sign(&key.PublicKey, []string{name}, nil)...))
}

// TestStored: what derper has left is served at once, the CA is not asked, and an unusable
// file is replaced.
func TestStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		c := confFor(t, ca)
		writeAutocert(t, ca, c)
		var logged bytes.Buffer
		c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		a, stop := start(t, ca, c)
		leaf := wantServed(t, a, hello(hostName), hostName)
		synctest.Wait()
		if ca.requests != 0 {
			t.Errorf("%d requests to the CA", ca.requests)
		}
		for _, part := range []string{"stored certificate", hostName, leaf.Issuer.CommonName,
			"until=" + leaf.NotAfter.Format("2006-01-02")} {
			if line := logged.String(); !strings.Contains(line, part) ||
				strings.Count(line, "\n") != 1 {
				t.Errorf("logged %q, want one line with %q", line, part)
			}
		}
		c.Logger = nil
		stop()
		for _, text := range []string{"", "nothing in PEM", "-----BEGIN CERTIFICATE-----\n",
			autocertText(t, ca, "other.example.com")} {
			file := filepath.Join(c.CacheDir, hostName)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			b, stop := start(t, ca, c)
			synctest.Wait()
			wantServed(t, b, hello(hostName), hostName)
			stop()
		}
		if n := ca.ordered(); n != 4 || len(ca.accounts) != 1 {
			t.Errorf("%d orders by %d accounts, want 4 by 1", n, len(ca.accounts))
		}
	})
}

// TestLegacyAccount: the account that an old autocert has left is used on.
func TestLegacyAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		c := confFor(t, ca)
		_, stop := start(t, ca, c)
		synctest.Wait()
		stop()
		account := filepath.Join(c.CacheDir, "acme_account")
		if err := os.Rename(account+"+key", account+".key"); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(c.CacheDir, hostName)); err != nil {
			t.Fatal(err)
		}
		_, stop = start(t, ca, c)
		synctest.Wait()
		stop()
		wantFiles(t, c.CacheDir, "acme_account.key", hostName)
		if n := ca.ordered(); n != 2 || len(ca.accounts) != 1 {
			t.Errorf("%d orders by %d accounts", n, len(ca.accounts))
		}
	})
}

// TestBrokenAccountKeyEndsTheStart: with the file and the remedy, as a certificate that may not be
// read does, and not only when the first renewal fails.
func TestBrokenAccountKeyEndsTheStart(t *testing.T) {
	for _, tt := range []struct {
		file, text string
		ips        bool
		want       string
	}{
		{"acme_account+key", "damaged", false, "restore it"},
		{"acme_account.key", "damaged", false, "restore it"},
		{"acme-account.key", "damaged", true, "restore it"},
		{"acme_account+key/", "", false, "let the relay's user read it"}, // a folder cannot be read
		{"acme-account.key", "damaged", false, ""},                       // which is not needed
	} {
		c := ACMEConfig{CacheDir: t.TempDir(), Hostname: hostName, IPs: tt.ips}
		path := filepath.Join(c.CacheDir, tt.file) // without the slash
		var err error
		if strings.HasSuffix(tt.file, "/") {
			err = os.Mkdir(path, 0o700)
		} else {
			err = os.WriteFile(path, []byte(tt.text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = ACME(c)
		if tt.want == "" && err != nil {
			t.Error(err)
		}
		if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) ||
			!strings.Contains(err.Error(), path)) {
			t.Errorf("%s: %v, want %q and the file", tt.file, err, tt.want)
		}
	}
}

// TestExternalAccount: the binding is sent when the account is made, and not needed after.
func TestExternalAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newFakeCA(t)
		ca.eabKey = []byte("a secret of 16 bytes or more")
		c := confFor(t, ca)
		a, stop := start(t, ca, c)
		synctest.Wait()
		wantMiss(t, a, hello(hostName), "no certificate")
		stop()
		c.EABKid, c.EABKey = "kid", base64.StdEncoding.EncodeToString(ca.eabKey)
		c.Email = "operator@example.com"
		a, stop = start(t, ca, c)
		synctest.Wait()
		wantServed(t, a, hello(hostName), hostName)
		stop()
		if err := os.Remove(filepath.Join(c.CacheDir, hostName)); err != nil {
			t.Fatal(err)
		}
		c.EABKey = "c3BlbnQ"
		a, _ = start(t, ca, c)
		synctest.Wait()
		wantServed(t, a, hello(hostName), hostName)
	})
}

// TestCheckedChain: what a CA sends is served only if it is what was asked for.
func TestCheckedChain(t *testing.T) {
	ca := newFakeCA(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		public any
		want   string
	}{
		{hostName, &key.PublicKey, ""},
		{"other.example.com", &key.PublicKey, "something else"},
		{hostName, &ca.key.PublicKey, "another key"},
	} {
		block, _ := pem.Decode(ca.sign(tt.public, []string{tt.name}, nil))
		_, err := checked(subject{name: hostName}, [][]byte{block.Bytes}, key)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q in it", tt.name, err, tt.want)
		}
	}
	if _, err := checked(subject{name: hostName}, [][]byte{{1}}, key); err == nil {
		t.Error("a byte is a certificate")
	}
}

func TestHTTPHandler(t *testing.T) {
	a, err := ACME(ACMEConfig{CacheDir: t.TempDir(), Hostname: hostName})
	if err != nil {
		t.Fatal(err)
	}
	if got := a.kinds(a.host); !slices.Equal(got, []string{tlsALPN01}) {
		t.Errorf("validated by %q while port 80 is not served", got)
	}
	h := a.HTTPHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "other")
	}))
	if got := a.kinds(a.host); !slices.Equal(got, []string{tlsALPN01, http01}) {
		t.Errorf("validated by %q", got)
	}
	a.challenges.bodies.Store("/.well-known/acme-challenge/token", "token.thumb")
	for _, tt := range []struct {
		path, body string
		code       int
	}{
		{"/", "other", 200},
		{"/.well-known/acme-challenge", "other", 200},
		{"/.well-known/acme-challenge/token", "token.thumb", 200},
		{"/.well-known/acme-challenge/", "no such validation is under way\n", 404},
		{"/.well-known/acme-challenge/../x", "no such validation is under way\n", 404},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", tt.path, nil))
		if w.Code != tt.code || w.Body.String() != tt.body {
			t.Errorf("%s: %d %q", tt.path, w.Code, w.Body)
		}
	}
}
