package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"derpd/relay/certs"
	"derpd/relay/derp"
)

// asProgram in the environment makes the test binary be derpd, with main and all.
const asProgram = "RUN_AS_DERPD"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		if os.Getenv(withoutURing) != "" {
			if err := forbidURing(); err != nil {
				panic(err)
			}
		}
		main()
	}
	os.Exit(m.Run())
}

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// program returns derpd as a command that has not been started, in an empty folder and
// without flags in its environment.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool {
		return strings.HasPrefix(e, "DERPD_")
	}), asProgram+"=1", "GORACE=halt_on_error=1 atexit_sleep_ms=0")
	return cmd
}

// runs derpd to its end.
func runProgram(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := program(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(patience, func() { cmd.Process.Kill() }) // it serves: exit -1
	defer kill.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestVersionFlag(t *testing.T) {
	stdout, stderr, code := runProgram(t, "-version")
	if code != 0 || !regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9a-f]{12})?\n$`).MatchString(stdout) ||
		!strings.HasPrefix(stdout, release) || stderr != "" {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
}

func TestHelpFlag(t *testing.T) {
	for _, flag := range []string{"-help", "-h", "--help"} {
		stdout, stderr, code := runProgram(t, flag)
		if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "Usage: derpd") {
			t.Fatalf("%s: exit %d, %.80q, %q", flag, code, stdout, stderr)
		}
		listed := map[string]bool{}
		for _, m := range regexp.MustCompile(`(?m)^  -([a-z0-9-]+)`).FindAllStringSubmatch(stdout, -1) {
			listed[m[1]] = true
		}
		for name := range derperFlags {
			if !listed[name] {
				t.Errorf("%s does not list -%s", flag, name)
			}
		}
		for _, name := range []string{"demo", "loops", "workers", "max-connections",
			"max-handshakes", "max-http", "pre-login-budget", "queue-budget", "engine", "status",
			"latency-budget", "log-level", "config"} {
			if !listed[name] {
				t.Errorf("%s does not list -%s", flag, name)
			}
		}
	}
}

// fileList is every file below dir with its size.
func fileList(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		all = append(all, fmt.Sprint(p, info.Mode(), info.Size()))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestRefusesToStart: one sentence on standard error, exit 1, nothing written.
func TestRefusesToStart(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	badKey := put("bad.key", `{"PrivateKey":"privkey:00"}`)
	noKey := put("no.key", `{}`)
	aFile := put("a-file", "")
	put("broken/relay.example.com.crt", "x")
	put("broken/relay.example.com.key", "x")
	newKey := filepath.Join(dir, "new.key")
	tcpPort, udpPort := portsInUse(t)
	tcpAddr := "127.0.0.1:" + tcpPort
	free := []string{"-a=127.0.0.1:0", "-http-port=-1", "-stun=false", "-certmode=self-signed"}

	before := fileList(t, dir)
	for _, tc := range []struct {
		name  string
		args  []string
		parts []string
	}{
		{"address in use", []string{"-a=" + tcpAddr, "-c", newKey},
			[]string{tcpAddr, "in use"}},
		{"address of another", []string{"-a=192.0.2.1:0", "-c", newKey}, []string{"192.0.2.1"}},
		{"STUN port in use", []string{"-stun", "-stun-port=" + udpPort, "-c", newKey},
			[]string{udpPort, "in use"}},
		{"HTTP port in use", []string{"-http-port=" + tcpPort, "-c", newKey},
			[]string{"-http-port " + tcpPort, "in use"}},
		{"damaged key file", []string{"-c", badKey}, []string{badKey, "damaged"}},
		{"empty key file", []string{"-c", noKey}, []string{noKey, "damaged"}},
		{"key file in a file", []string{"-c", filepath.Join(aFile, "key")}, []string{aFile}},
		{"folder as key file", []string{"-c", dir}, []string{dir}},
		{"no certificate", []string{"-certmode=manual", "-certdir", dir, "-c", newKey,
			"-hostname=relay.example.com"},
			[]string{filepath.Join(dir, "relay.example.com.crt"), "-certdir"}},
		{"broken certificate", []string{"-certmode=manual", "-c", newKey,
			"-certdir", filepath.Join(dir, "broken"), "-hostname=relay.example.com"},
			[]string{"relay.example.com.crt", "PEM"}},
		{"bad flag", []string{"-loops=-3", "-c", newKey}, []string{"-loops", "-3"}},
		{"unknown flag", []string{"-nonsense", "-c", newKey}, []string{"nonsense"}},
		{"refused flag", []string{"-secrets-url=https://secrets.example.com", "-c", newKey},
			[]string{"secrets-url", "not offered"}},
		{"mesh without a key", []string{"-mesh-with=other.example.com", "-mesh-psk-file=",
			"-c", newKey}, []string{"-mesh-with", "-mesh-psk-file"}},
		{"bad mesh key", []string{"-mesh-psk-file", badKey, "-c", newKey},
			[]string{"-mesh-psk-file", badKey}},
		{"no mesh key", []string{"-mesh-psk-file", newKey, "-c", newKey},
			[]string{"-mesh-psk-file", newKey}},
		{"bad rates", []string{"-rate-config", aFile, "-c", newKey}, []string{"-rate-config", aFile}},
		{"no rates", []string{"-rate-config", newKey, "-c", newKey},
			[]string{"-rate-config", newKey}},
		{"bad admission URL", []string{"-verify-client-url=ftp://x/", "-c", newKey},
			[]string{"ftp://x/"}},
		{"bad names", []string{"-disallow-app-names=a,,b", "-c", newKey}, []string{"name"}},
		{"gcp without a binding", []string{"-certmode=gcp", "-acme-directory=https://127.0.0.1:1/d",
			"-hostname=relay.example.com", "-certdir", filepath.Join(dir, "acme"), "-c", newKey},
			[]string{"-acme-eab-kid"}},
	} {
		stdout, stderr, code := runProgram(t, append(free[:len(free):len(free)], tc.args...)...)
		line, more, _ := strings.Cut(stderr, "\n")
		if code != 1 || stdout != "" || more != "" || !strings.HasPrefix(line, "derpd: ") {
			t.Errorf("%s: exit %d, %q, %q; want 1 and one line of errors", tc.name, code, stdout,
				stderr)
		}
		for _, part := range tc.parts {
			if !strings.Contains(line, part) {
				t.Errorf("%s: %q does not have %q", tc.name, line, part)
			}
		}
	}
	if after := fileList(t, dir); !slices.Equal(before, after) {
		t.Errorf("files were changed:\n%s\nbefore:\n%s", strings.Join(after, "\n"),
			strings.Join(before, "\n"))
	}
}

// running is a started derpd.
type running struct {
	cmd  *exec.Cmd
	addr string // of the main listener
	key  string // hexadecimal
	out  lines
	errs lines
	over chan struct{}
	err  error
}

// lines collects output that another goroutine writes.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

var served = regexp.MustCompile(`serves .*? on (\S+), .* key nodekey:([0-9a-f]{64})\n`)

// startProgram starts derpd and waits until it serves.
func startProgram(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{cmd: program(t, args...), over: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.errs
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.over)
		r.err = r.cmd.Wait()
	}()
	t.Cleanup(func() {
		r.cmd.Process.Kill()
		<-r.over
	})
	r.wait(t, "serve", func() bool {
		m := served.FindStringSubmatch(r.out.String())
		if m != nil {
			r.addr, r.key = m[1], m[2]
		}
		return m != nil
	})
	return r
}

// wait waits until cond holds; it fails when derpd ends first.
func (r *running) wait(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(5 * time.Millisecond) {
		select {
		case <-r.over:
			t.Fatalf("derpd ended before it could %s: %v\n%s%s", what, r.err, &r.out, &r.errs)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("derpd did not %s in %v\n%s%s", what, patience, &r.out, &r.errs)
		}
	}
}

// stop sends a signal and expects an orderly end.
func (r *running) stop(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	select {
	case <-r.over:
	case <-time.After(patience):
		t.Fatalf("still running %v after %v\n%s", patience, sig, &r.errs)
	}
	if r.err != nil {
		t.Errorf("after %v: %v, want exit 0\n%s", sig, r.err, &r.errs)
	}
	if !strings.Contains(r.errs.String(), "msg=stopped") {
		t.Errorf("it did not say that it has stopped:\n%s", &r.errs)
	}
}

// dial opens a stream to derpd.
func (r *running) dial(t *testing.T, secure bool) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	if !secure {
		return c
	}
	s := tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: "relay.example.com"})
	if err := s.Handshake(); err != nil {
		t.Fatal(err)
	}
	return s
}

// login logs in over a fast start and returns what follows ServerInfo.
func (r *running) login(t *testing.T, c net.Conn) *bufio.Reader {
	t.Helper()
	var server derp.Key
	hex.Decode(server[:], []byte(r.key))
	info, _, err := derp.AppendClientInfo(nil, derp.PrivateKey{1, 2, 3}, server,
		derp.ClientInfo{Version: derp.ProtocolVersion}, [derp.NonceLen]byte{9})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(append([]byte("GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\n"+
		"Derp-Fast-Start: 1\r\n\r\n"), info...)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	for _, want := range []derp.FrameType{derp.FrameServerKey, derp.FrameServerInfo} {
		var h [derp.HeaderLen]byte
		if _, err := io.ReadFull(in, h[:]); err != nil {
			t.Fatal(err)
		}
		kind, n, _ := derp.Header(h[:])
		if _, err := in.Discard(n); err != nil || kind != want {
			t.Fatalf("received %v, %v; want %v", kind, err, want)
		}
	}
	return in
}

// TestSignalsEndIt: clients see an orderly end (close_notify over TLS, FIN on plain TCP),
// and the exit status is 0.
func TestSignalsEndIt(t *testing.T) {
	for _, tc := range []struct {
		name   string
		secure bool
		sig    os.Signal
		args   []string
	}{
		{"SIGTERM, TLS", true, syscall.SIGTERM, []string{"-certmode=self-signed",
			"-hostname=relay.example.com", "-http-port=0"}},
		{"SIGINT, plain", false, syscall.SIGINT, []string{"-dev"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := startProgram(t, append(tc.args, "-a=127.0.0.1:0", "-stun-port=0", "-loops=2",
				"-c="+filepath.Join(t.TempDir(), "key"))...)
			var clients []*bufio.Reader
			for range 4 {
				clients = append(clients, r.login(t, r.dial(t, tc.secure)))
			}
			idle := r.dial(t, tc.secure) // between TLS and a request
			r.stop(t, tc.sig)
			for _, in := range clients {
				// crypto/tls tells a bare FIN as io.ErrUnexpectedEOF.
				if b, err := in.ReadByte(); err != io.EOF {
					t.Errorf("a client read %x, %v; want an orderly end", b, err)
				}
			}
			// The last flight of its handshake may not have been read yet: any end will do.
			if b, err := bufio.NewReader(idle).ReadByte(); err == nil {
				t.Errorf("an idle connection read %x, want its end", b)
			}
		})
	}
}

// TestHangup reads the rates again, and without any does nothing.
func TestHangup(t *testing.T) {
	hup := func(t *testing.T, r *running) {
		t.Helper()
		if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("no rates", func(t *testing.T) {
		r := startProgram(t, "-dev", "-a=127.0.0.1:0", "-stun=false")
		in := r.login(t, r.dial(t, false))
		hup(t, r)
		r.stop(t, syscall.SIGTERM) // a SIGHUP that ends it comes first
		if _, err := in.ReadByte(); err != io.EOF {
			t.Errorf("a client was left with %v", err)
		}
	})
	t.Run("rates", func(t *testing.T) {
		file := writeFile(t, `{"PerClientRateLimitBytesPerSec": 1000000}`)
		r := startProgram(t, "-dev", "-a=127.0.0.1:0", "-stun=false", "-rate-config", file)
		r.login(t, r.dial(t, false))
		for _, step := range []struct{ text, logged string }{
			{`{"PerClientRateLimitBytesPerSec": 2000000}`, "client rates changed"},
			{`{"PerClientRateLimitBytesPerSec":`, "client rates not changed"},
			{`{"GlobalRateLimitBytesPerSec": 5}`, "mean nothing"},
		} {
			if err := os.WriteFile(file, []byte(step.text), 0o600); err != nil {
				t.Fatal(err)
			}
			hup(t, r)
			r.wait(t, "say "+step.logged, func() bool {
				return strings.Contains(r.errs.String(), step.logged)
			})
		}
		r.login(t, r.dial(t, false))
		r.stop(t, syscall.SIGTERM)
	})
}

// TestKeepsItsIdentity: key file and self-signed certificate are made once, by the first
// start, and both can only be read by their owner.
func TestKeepsItsIdentity(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "sub", "derper.key")
	crtDir := filepath.Join(dir, "certs")
	var seen []string
	for range 2 {
		r := startProgram(t, "-a=127.0.0.1:0", "-stun=false", "-http-port=-1", "-c", key,
			"-certmode=manual", "-hostname=127.0.0.1", "-certdir", crtDir)
		state := r.dial(t, true).(*tls.Conn).ConnectionState()
		pin := sha256.Sum256(state.PeerCertificates[0].Raw)
		if server, _, ok := derp.KeyFromMetaCert(state.PeerCertificates[1]); !ok ||
			server.Hex() != r.key {
			t.Errorf("the meta certificate names %v, the program %s", server, r.key)
		}
		r.wait(t, "print the region with the pin", func() bool {
			return strings.Contains(r.out.String(), "sha256-raw:"+hex.EncodeToString(pin[:]))
		})
		seen = append(seen, r.key, hex.EncodeToString(pin[:]))
		r.stop(t, syscall.SIGTERM)
	}
	if seen[0] != seen[2] || seen[1] != seen[3] {
		t.Errorf("key and certificate of two starts: %v", seen)
	}
	_, crtKey := certs.Files(crtDir, "127.0.0.1")
	for _, f := range []string{key, crtKey} {
		if st, err := os.Stat(f); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", f, st.Mode(), err)
		}
	}
}

// TestDemo prints a region that fits what it serves, and its pages work.
func TestDemo(t *testing.T) {
	r := startProgram(t, "-demo", "-a=127.0.0.1:0", "-stun-port=0", "-status=20ms")
	state := r.dial(t, true).(*tls.Conn).ConnectionState()
	pin := sha256.Sum256(state.PeerCertificates[0].Raw)
	r.wait(t, "print a status line", func() bool {
		return strings.Contains(r.out.String(), "connections ")
	})
	out := r.out.String()
	text, _, found := strings.Cut(out[strings.Index(out, "{\n"):], "\n}\n")
	var regions map[string]struct {
		RegionID int
		Nodes    []struct {
			Name, HostName, CertName, IPv4 string
			RegionID, STUNPort, DERPPort   int
		}
	}
	if err := json.Unmarshal([]byte(text+"}"), &regions); err != nil || !found {
		t.Fatalf("%v in %s", err, out)
	}
	node := regions["900"].Nodes[0]
	_, port, _ := net.SplitHostPort(r.addr)
	if regions["900"].RegionID != 900 || node.RegionID != 900 || node.IPv4 != "127.0.0.1" ||
		node.HostName != "127.0.0.1" || fmt.Sprint(node.DERPPort) != port || node.STUNPort == 0 ||
		node.CertName != "sha256-raw:"+hex.EncodeToString(pin[:]) {
		t.Errorf("the region %+v does not fit %s, %x", regions, r.addr, pin)
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	for path, part := range map[string]string{"/": "DERP", "/debug/varz": "derp_current_connections",
		"/debug/vars": "gauge_current_connections", "/derp/probe": "", "/debug/pprof/cmdline": "-demo",
		"/debug/varz?once+more": "derp_certificate_not_after"} {
		answer, err := client.Get("https://" + r.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != 200 || !strings.Contains(string(b), part) {
			t.Errorf("%s: %s, %v, %.100q", path, answer.Status, err, b)
		}
	}
	client.CloseIdleConnections()
	r.stop(t, syscall.SIGTERM)
}

// TestWithoutDERP serves pages and refuses the upgrade.
func TestWithoutDERP(t *testing.T) {
	r := startProgram(t, "-dev", "-a=127.0.0.1:0", "-stun=false", "-derp=false")
	c := r.dial(t, false)
	io.WriteString(c, "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nConnection: close\r\n\r\n")
	b, err := io.ReadAll(c)
	if err != nil || !bytes.HasPrefix(b, []byte("HTTP/1.1 404 ")) ||
		!bytes.Contains(b, []byte("derp server disabled")) {
		t.Errorf("answered %q, %v", b, err)
	}
	r.stop(t, syscall.SIGTERM)
}
