package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// base are flags with which a configuration is complete for any user.
var base = []string{"-certmode=self-signed", "-c=/tmp/key"}

// got renders what a case is about, so that cases can be compared as text.
type got func(c *config) any

func TestFlagValues(t *testing.T) {
	for _, tc := range []struct {
		args string
		what got
		want any
	}{
		{"", func(c *config) any { return c.addr }, netip.MustParseAddrPort("[::]:443")},
		{"", func(c *config) any { return c.tls }, true},
		{"", func(c *config) any { return []any{c.httpPort, c.stunPort, c.stun, c.derp} },
			[]any{80, 3478, true, true}},
		{"", func(c *config) any { return c.hostname }, "derp.tailscale.com"},
		{"", func(c *config) any {
			return []time.Duration{c.keepAlive, c.userTimeout, c.writeTimeout, c.status}
		}, []time.Duration{10 * time.Minute, 15 * time.Second, 2 * time.Second, 0}},
		{"", func(c *config) any { return []int{c.loops, c.workers} },
			[]int{runtime.GOMAXPROCS(0), runtime.GOMAXPROCS(0)}},
		{"", func(c *config) any { return []int{c.maxConnections, c.maxHandshakes, c.maxHTTP} },
			[]int{1_000_000, 4096, 1024}},
		{"", func(c *config) any { return []int64{c.preLoginBudget, c.queueBudget} },
			[]int64{16 << 20, 1 << 30}},
		{"", func(c *config) any { return c.level }, slog.LevelInfo},
		{"", func(c *config) any { return c.engine }, "auto"},
		{"-engine epoll", func(c *config) any { return c.engine }, "epoll"},

		{"-a=:3340", func(c *config) any { return c.addr }, netip.MustParseAddrPort("[::]:3340")},
		{"-a 127.0.0.1:8443", func(c *config) any { return c.addr },
			netip.MustParseAddrPort("127.0.0.1:8443")},
		{"-a [::1]:0", func(c *config) any { return c.addr }, netip.MustParseAddrPort("[::1]:0")},
		{"-a=localhost:1", func(c *config) any { return c.addr.Addr().IsLoopback() }, true},
		{"--http-port=-2", func(c *config) any { return c.httpPort < 0 }, true},
		{"-http-port 8080", func(c *config) any { return c.httpPort }, 8080},
		{"-stun=false -derp=0", func(c *config) any { return []bool{c.stun, c.derp} },
			[]bool{false, false}},
		{"-stun-port=0", func(c *config) any { return c.stunPort }, 0},
		{"-certdir=/d -hostname=192.0.2.1", func(c *config) any { return c.certDir + c.hostname },
			"/d192.0.2.1"},
		{"-home=blank", func(c *config) any { return c.home }, "blank"},
		{"-home=https://example.com/x", func(c *config) any { return c.home },
			"https://example.com/x"},
		{"-tcp-keepalive-time=0", func(c *config) any { return c.keepAliveTime() },
			15 * time.Second},
		{"-tcp-keepalive-time=-1s", func(c *config) any { return c.keepAliveTime() },
			time.Duration(0)},
		{"-tcp-keepalive-time=7s", func(c *config) any { return c.keepAliveTime() },
			7 * time.Second},
		{"-tcp-keepalive-time=0 -tcp-user-timeout=1m -tcp-write-timeout=0s", func(c *config) any {
			return []time.Duration{c.keepAlive, c.userTimeout, c.writeTimeout}
		}, []time.Duration{0, time.Minute, 0}},
		{"-loops=3 -workers=5", func(c *config) any { return []int{c.loops, c.workers} },
			[]int{3, 5}},
		{"-verify-clients -socket=/s -verify-client-url=http://h/ -verify-client-url-fail-open=0",
			func(c *config) any {
				return []any{c.verifyClients, c.socket, c.verifyURL, c.verifyFailOpen}
			}, []any{true, "/s", "http://h/", false}},
		{"", func(c *config) any { return []any{c.acceptLimit, c.acceptBurst, c.verifyCache} },
			[]any{math.Inf(+1), math.MaxInt, 10 * time.Second}},
		{"-accept-connection-limit=2.5 -accept-connection-burst=7", func(c *config) any {
			return []any{c.acceptLimit, c.acceptBurst}
		}, []any{2.5, 7}},
		{"-mesh-psk-file=/m -mesh-with=a,b/c", func(c *config) any {
			return c.meshFile + " " + c.meshWith
		}, "/m a,b/c"},
		{"-log-level=debug", func(c *config) any { return c.level }, slog.LevelDebug},

		{"-dev -certmode=letsencrypt", func(c *config) any { return []any{c.addr.Port(), c.tls} },
			[]any{uint16(3340), false}},
		{"-dev -a=:5", func(c *config) any { return c.addr.Port() }, uint16(5)},
		{"-dev -c=", func(c *config) any { return c.keyFile }, ""},
		{"-demo", func(c *config) any { return c.addr }, netip.MustParseAddrPort("127.0.0.1:3443")},
		{"-demo", func(c *config) any { return []any{c.tls, c.httpPort, c.status, c.hostname} },
			[]any{true, -1, time.Second, "127.0.0.1"}},
		{"-demo -http-port=80 -status=0", func(c *config) any {
			return []any{c.httpPort, c.status}
		}, []any{80, time.Duration(0)}},
		{"-version -a=nonsense", func(c *config) any { return c.version }, true},
	} {
		c, err := parseFlags(append(base[:2:2], strings.Fields(tc.args)...))
		if err != nil {
			t.Errorf("%s: %v", tc.args, err)
		} else if got := tc.what(c); fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%q gives %v, want %v", tc.args, got, tc.want)
		}
	}
}

// wantSentence checks that an error is one line that has these parts.
func wantSentence(t *testing.T, what string, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: accepted", what)
		return
	}
	text := err.Error()
	if strings.ContainsAny(text, "\n\t") || len(text) < 20 {
		t.Errorf("%s: %q is no sentence", what, text)
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s: %q does not have %q", what, text, part)
		}
	}
}

func TestBadFlagValues(t *testing.T) {
	for _, tc := range []struct {
		args  string
		parts []string // of the error: the flag, the value, the remedy
	}{
		{"-nonsense", []string{"nonsense", "-help"}},
		{"-nonsense=1", []string{"nonsense", "-help"}},
		{"extra", []string{`"extra"`, "-help"}},
		{"-a=443", []string{"-a", `"443"`, "[address]:port"}},
		{"-a=:http2", []string{"-a", "http2", "65535"}},
		{"-a=:", []string{"-a", `""`, "65535"}},
		{"-a=:65536", []string{"-a", "65536", "65535"}},
		{"-a=:-1", []string{"-a", "-1", "65535"}},
		{"-a=no.such.host.invalid:443", []string{"-a", "no.such.host.invalid", "IP address"}},
		{"-http-port=70000", []string{"-http-port", "70000", "65535"}},
		{"-http-port=x", []string{"http-port", `"x"`}},
		{"-stun-port=-1", []string{"-stun-port", "-1", "0 to 65535"}},
		{"-stun=maybe", []string{"stun", "maybe"}},
		{"-certmode=magic", []string{"-certmode", "magic", "manual"}},
		{"-hostname=", []string{"-hostname"}},
		{"-home=example.com", []string{"-home", "example.com", "https://"}},
		{"-home=ftp://example.com", []string{"-home", "ftp://", "https://"}},
		{"-home=http://", []string{"-home", "https://"}},
		{"-tcp-write-timeout=-1s", []string{"-tcp-write-timeout", "-1s", "15s"}},
		{"-tcp-user-timeout=5", []string{"tcp-user-timeout", `"5"`}},
		{"-status=-1s", []string{"-status", "-1s"}},
		{"-loops=-1", []string{"-loops", "-1", "1 to 128"}},
		{"-loops=129", []string{"-loops", "129", "1 to 128"}},
		{"-workers=5000", []string{"-workers", "5000", "1 to 1024"}},
		{"-max-connections=0", []string{"-max-connections", "0", "1 to"}},
		{"-max-handshakes=-5", []string{"-max-handshakes", "-5", "1 to"}},
		{"-max-http=0", []string{"-max-http", "0", "1 to"}},
		{"-pre-login-budget=5", []string{"-pre-login-budget", "5", "1048576"}},
		{"-engine=kqueue", []string{"-engine", "kqueue", "auto, epoll or io_uring"}},
		{"-latency-budget=1s", []string{"-latency-budget", "1s", "1ms"}},
		{"-latency-budget=-1us", []string{"-latency-budget", "-1µs", "1ms"}},
		{"-queue-budget=0", []string{"-queue-budget", "0", "1048576"}},
		{"-verify-cache=-1s", []string{"-verify-cache", "-1s"}},
		{"-accept-connection-limit=-1", []string{"-accept-connection-limit", "-1"}},
		{"-accept-connection-limit=NaN", []string{"-accept-connection-limit", "NaN"}},
		{"-accept-connection-burst=0", []string{"-accept-connection-burst", "0"}},
		{"-accept-connection-limit=fast", []string{"accept-connection-limit", "fast"}},
		{"-log-level=loud", []string{"-log-level", "loud", "debug"}},
		{"-config=/no/such/file", []string{"/no/such/file"}},
	} {
		_, err := parseFlags(append(base[:2:2], strings.Fields(tc.args)...))
		wantSentence(t, tc.args, err, tc.parts...)
	}
	if os.Geteuid() != 0 {
		_, err := parseFlags([]string{"-certmode=self-signed"})
		wantSentence(t, "no key file", err, "-c", rootKeyFile)
	} else if c, err := parseFlags([]string{"-certmode=self-signed"}); err != nil ||
		c.keyFile != rootKeyFile {
		t.Errorf("root's key file: %v", err)
	}
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPrecedence: a flag beats the environment, which beats the configuration file.
func TestPrecedence(t *testing.T) {
	file := writeFile(t, "# our relay\nmax-http 10\nloops 2\nstun false\n"+
		"hostname file.example.com\n\nhttp-port 8081\n")
	t.Setenv("DERPD_LOOPS", "3")
	t.Setenv("DERPD_HOSTNAME", "env.example.com")
	t.Setenv("DERPD_HTTP_PORT", "8082")
	t.Setenv("LOOPS", "99")
	c, err := parseFlags(append(base[:2:2], "-config", file, "-hostname=flag.example.com"))
	if err != nil {
		t.Fatal(err)
	}
	if c.maxHTTP != 10 || c.stun {
		t.Errorf("from the file: max-http %d, stun %v; want 10, false", c.maxHTTP, c.stun)
	}
	if c.loops != 3 || c.httpPort != 8082 {
		t.Errorf("from the environment: loops %d, http-port %d; want 3, 8082", c.loops, c.httpPort)
	}
	if c.hostname != "flag.example.com" {
		t.Errorf("from the flag: hostname %s", c.hostname)
	}
	t.Setenv("DERPD_CONFIG", file)
	t.Setenv("DERPD_C", "/tmp/key")
	t.Setenv("DERPD_CERTMODE", "self-signed")
	if c, err = parseFlags(nil); err != nil || c.maxHTTP != 10 || c.hostname != "env.example.com" {
		t.Errorf("with the environment alone: %+v, %v", c, err)
	}
	// What a preset implies gives way to any source.
	t.Setenv("DERPD_DEMO", "true")
	if c, err = parseFlags(nil); err != nil || c.httpPort != 8082 || c.status != time.Second {
		t.Errorf("-demo with a port from the environment: %+v, %v", c, err)
	}
}

// TestBadSources: a mistake in the environment or the file is told with where it stands.
func TestBadSources(t *testing.T) {
	t.Run("environment", func(t *testing.T) {
		t.Setenv("DERPD_HTTP_PORT", "many")
		_, err := parseFlags(base)
		wantSentence(t, "DERPD_HTTP_PORT=many", err, "DERPD_HTTP_PORT", "many")
	})
	for text, parts := range map[string][]string{
		"http-port many\n":    {"http-port", "many"},
		"no-such-flag 1\n":    {"no-such-flag"},
		"secrets-url other\n": {"secrets-url", "not offered"},
		"loops 1\nloops x\n":  {"loops", "x"},
	} {
		_, err := parseFlags(append(base[:2:2], "-config", writeFile(t, text)))
		wantSentence(t, text, err, parts...)
	}
}

// derperFlags are all flags of derper 1.104 with their defaults.
var derperFlags = map[string]string{
	"dev": "false", "version": "false", "a": ":443", "http-port": "80", "stun": "true",
	"stun-port": "3478", "derp": "true", "c": "", "certmode": "letsencrypt",
	"certdir": defaultCertDir(), "hostname": "derp.tailscale.com", "acme-eab-kid": "",
	"acme-eab-key": "", "acme-email": "", "acme-ip-certs": "false", "home": "",
	"mesh-psk-file": defaultMeshFile(), "mesh-with": "", "secrets-url": "", "secrets-path-prefix": "prod/derp",
	"secrets-cache-dir": secretsCacheDir(), "bootstrap-dns-names": "",
	"unpublished-bootstrap-dns-names": "", "verify-clients": "false", "verify-client-url": "",
	"verify-client-url-fail-open": "true", "socket": "", "accept-connection-limit": "+Inf",
	"accept-connection-burst": "9223372036854775807", "rate-config": "",
	"tcp-keepalive-time": "10m0s", "tcp-user-timeout": "15s", "tcp-write-timeout": "2s",
	"ace": "false", "disallow-app-names": "",
}

// TestDerpersFlags: derper's defaults may be written out, one by one and all together.
func TestDerpersFlags(t *testing.T) {
	all := []string{}
	for name, preset := range derperFlags {
		arg := fmt.Sprintf("-%s=%s", name, preset)
		all = append(all, arg)
		if _, err := parseFlags([]string{"-dev", "-c=/tmp/key", "-a=:1", arg}); err != nil {
			t.Errorf("%s: %v", arg, err)
		}
	}
	if _, err := parseFlags(append(all, "-dev")); err != nil {
		t.Errorf("all defaults: %v", err)
	}
}

// TestRefusedFlags: what derper has and derpd has not is refused in a sentence, unless the
// default is given.
func TestRefusedFlags(t *testing.T) {
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	refuseLater(fs)
	n := 0
	fs.VisitAll(func(f *flag.Flag) {
		n++
		r, ok := f.Value.(*refused)
		if !ok {
			t.Errorf("-%s is no refused flag", f.Name)
			return
		}
		preset, known := derperFlags[f.Name]
		if !known || r.usual != preset {
			t.Errorf("-%s defaults to %q here and %q in derper", f.Name, r.usual, preset)
		}
		values := []string{"something"}
		switch preset {
		case "false":
			values = []string{"true"}
		case "true":
			values = []string{"false"}
		}
		for _, v := range values {
			arg := fmt.Sprintf("-%s=%s", f.Name, v)
			_, err := parseFlags(append(base[:2:2], arg))
			wantSentence(t, arg, err, f.Name, v, "not offered", release, r.instead)
		}
		if r.boolean && preset == "false" {
			_, err := parseFlags(append(base[:2:2], "-"+f.Name))
			wantSentence(t, "-"+f.Name, err, f.Name, "not offered", r.instead)
		}
		if !strings.Contains(f.Usage, "only its default") || r.instead == "" {
			t.Errorf("-%s: the usage %q does not say what to do instead", f.Name, f.Usage)
		}
	})
	t.Logf("%d flags of derper are refused", n)
}

func TestMeshWith(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "[]",
		"a.example.com":                    "[{a.example.com a.example.com:443}]",
		" a.example.com , me.example.com,": "[{a.example.com a.example.com:443}]",
		"a.example.com/10.0.0.5":           "[{a.example.com 10.0.0.5:443}]",
		"a.example.com:8443":               "[{a.example.com:8443 a.example.com:8443}]",
		"a.example.com/[fd00::1]":          "[{a.example.com [fd00::1]:443}]",
	} {
		peers, err := parseMeshWith(in, "me.example.com", "443")
		if err != nil || fmt.Sprint(peers) != want {
			t.Errorf("%q: %v, %v; want %s", in, peers, err, want)
		}
	}
	for _, in := range []string{"/", "a/", "/b", "a/b/c"} {
		_, err := parseMeshWith(in, "me.example.com", "443")
		wantSentence(t, in, err, "-mesh-with", in, "name/dialhost")
	}
}

// TestMeshIsDialledOverTLS: whatever a node serves, it gives the mesh key only to who has proved the
// name; nodes of a -dev region are at hand.
func TestMeshIsDialledOverTLS(t *testing.T) {
	key := writeFile(t, strings.Repeat("7", 64)+"\n")
	for args, secure := range map[string]bool{
		"-a=:8443 -certmode=letsencrypt": true, "-a=:8443": true, "-dev": false,
	} {
		if args == "-dev" {
			t.Setenv(devMeshKey, strings.Repeat("7", 64))
		}
		c, err := parseFlags(append(base[:2:2], append(strings.Fields(args), "-mesh-psk-file", key,
			"-mesh-with=other.example.com")...))
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.meshConfig()
		if err != nil || len(m.Peers) != 1 || (m.NewHandshake != nil) != secure {
			t.Errorf("%s: %d peers, %v, over TLS %v; want %v", args, len(m.Peers), err,
				m.NewHandshake != nil, secure)
		}
	}
	c, err := parseFlags(append(base[:2:2], "-mesh-psk-file", writeFile(t, " \n")))
	if err != nil {
		t.Fatal(err)
	}
	if m, err := c.meshConfig(); err != nil || !m.Key.IsZero() {
		t.Errorf("an empty file gives %v, %v, want no key", m.Key, err)
	}
}

// TestMeshKeyErrors name where the key is taken from, and where to put it.
func TestMeshKeyErrors(t *testing.T) {
	for _, tc := range []struct {
		args, env   string
		parts       []string
		notConcerns string
	}{
		{"-dev -mesh-psk-file=/no/such/file", "77", []string{devMeshKey, "64"}, "-mesh-psk-file"},
		{"-dev", "", []string{"-mesh-with", devMeshKey}, "-mesh-psk-file"},
		{"-a=:1 -mesh-psk-file=", strings.Repeat("7", 64), []string{"-mesh-with", "-mesh-psk-file"},
			devMeshKey},
		{"-a=:1 -mesh-psk-file=" + writeFile(t, "77"), "", []string{"-mesh-psk-file", "64"}, devMeshKey},
	} {
		t.Setenv(devMeshKey, tc.env)
		c, err := parseFlags(append(base[:2:2], append(strings.Fields(tc.args),
			"-mesh-with=other.example.com")...))
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.meshConfig()
		wantSentence(t, tc.args, err, tc.parts...)
		if err != nil && strings.Contains(err.Error(), tc.notConcerns) {
			t.Errorf("%s: %v has nothing to do with %s", tc.args, err, tc.notConcerns)
		}
	}
}

func TestListenAddr(t *testing.T) {
	for in, want := range map[string]string{
		":443": "[::]:443", "0.0.0.0:1": "[::]:1", ":https": "[::]:443",
		"[::]:65535": "[::]:65535", "192.0.2.1:0": "192.0.2.1:0",
	} {
		if a, _, err := listenAddr(in); err != nil || a.String() != want {
			t.Errorf("%s: %v, %v; want %s", in, a, err, want)
		}
	}
}
