package pebble

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"derpd/relay/certs"
)

const (
	hostName = "relay.example.com"
	eabKid   = "kid-1"
	eabKey   = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"

	startMax = 20 * time.Second // for a process to answer
	// issueMax is for a certificate to come, with nonces refused on the way. Pebble's handler of an
	// order read-locks it twice, and hangs for good if the order is completed in between: then it is
	// the second attempt that succeeds, after a request's 30 s and a pause of a minute.
	issueMax = 150 * time.Second
)

// ca is a running Pebble.
type ca struct {
	directory string
	file      string         // the certificate of its HTTPS
	client    *http.Client   // trusts its HTTPS
	roots     *x509.CertPool // what it issues
}

// startCA runs Pebble and a DNS server that says 127.0.0.1 to everything. Names are validated
// on the ports of s.
func startCA(t *testing.T, s *site, external bool) *ca {
	t.Helper()
	ports := freePorts(t, 4)
	dns := fmt.Sprintf("127.0.0.1:%d", ports[0])
	run(t, nil, program(t, "pebble-challtestsrv"), "-dnsserver", dns, "-defaultIPv6", "",
		"-management", fmt.Sprintf("127.0.0.1:%d", ports[1]), "-http01", "", "-https01", "",
		"-tlsalpn01", "", "-doh", "")

	crt, key := selfSigned(t)
	listen := fmt.Sprintf("127.0.0.1:%d", ports[2])
	management := fmt.Sprintf("127.0.0.1:%d", ports[3])
	settings := map[string]any{
		"listenAddress": listen, "managementListenAddress": management,
		"certificate": crt, "privateKey": key,
		"httpPort": port(s.http), "tlsPort": port(s.tls),
		"retryAfter":   map[string]int{"authz": 1, "order": 1},
		"keyAlgorithm": "ecdsa",
		// Pebble takes any of them for an order that names none.
		"profiles": map[string]any{
			"default":    map[string]any{"description": "90 days", "validityPeriod": 90 * 86400},
			"other":      map[string]any{"description": "80 days", "validityPeriod": 80 * 86400},
			"shortlived": map[string]any{"description": "6 days", "validityPeriod": 6 * 86400},
		},
		"externalAccountBindingRequired": external,
		"externalAccountMACKeys":         map[string]string{eabKid: eabKey},
	}
	text, err := json.Marshal(map[string]any{"pebble": settings})
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "pebble.json")
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0"}, program(t, "pebble"),
		"-config", config, "-dnsserver", dns)

	c := &ca{directory: "https://" + listen + "/dir", file: crt, client: trusting(t, crt),
		roots: x509.NewCertPool()}
	root := c.get(t, "https://"+management+"/roots/0")
	if !c.roots.AppendCertsFromPEM(root) {
		t.Fatalf("Pebble's root: %q", root)
	}
	c.get(t, c.directory)
	return c
}

// get waits until a URL answers.
func (c *ca) get(t *testing.T, url string) []byte {
	t.Helper()
	var body []byte
	waitFor(t, startMax, func() error {
		r, err := c.client.Get(url)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, r.Status)
		}
		body, err = io.ReadAll(r.Body)
		return err
	})
	return body
}

// selfSigned makes a certificate for Pebble's own HTTPS.
func selfSigned(t *testing.T) (crt, key string) {
	t.Helper()
	dir := t.TempDir()
	pair, err := certs.Manual(dir, "127.0.0.1", slog.New(slog.DiscardHandler))
	if err == nil {
		_, err = pair.Serve(serverKey)
	}
	if err != nil {
		t.Fatal(err)
	}
	return certs.Files(dir, "127.0.0.1")
}

func trusting(t *testing.T, file string) *http.Client {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatalf("%s holds no certificate", file)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// building is held while a tool is built: a program that another `go` still writes cannot run.
var building sync.Mutex

// program builds a tool of this module, or finds it built.
func program(t *testing.T, name string) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	return output(t, "go", "tool", "-n", name)
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	c := exec.Command(name, args...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return strings.TrimSpace(string(out))
}

// run starts a process that ends with the test. What it says is shown if the test fails.
func run(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), env...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(name), &said)
		}
	})
}

// freePorts returns ports that are free for TCP on loopback at the moment. A process that is forked
// meanwhile would have copies of the listeners until its exec is done.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for range n {
		ln := listen(t)
		defer ln.Close()
		ports = append(ports, port(ln))
	}
	return ports
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func port(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

// waitFor asks again and again until there is no error.
func waitFor(t *testing.T, limit time.Duration, ask func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
