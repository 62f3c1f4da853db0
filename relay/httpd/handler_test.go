package httpd

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"derpd/netpoll"
	"derpd/relay"
	"derpd/relay/admit"
	"derpd/relay/bootstrap"
	"derpd/relay/certs"
	"derpd/relay/ratelimit"
	"derpd/stun"
)

const stranger = "203.0.113.5:4000" // no address of loopback or a tailnet

// testConfig has a snapshot in which some numbers are known.
func testConfig() Config {
	dns, err := bootstrap.New(bootstrap.Config{})
	if err != nil {
		panic(err)
	}
	return Config{Version: "1.2.3-test", Snapshot: testSnapshot, TLS: true, Bootstrap: dns,
		STUN: func() stun.Stats { return stun.Stats{Successes: 11, IPv4: 9, IPv6: 2} },
		Rate: func() ratelimit.Limits { return ratelimit.New(5000, 70000) },
		Admit: func() (s admit.Stats) {
			s.Answers[admit.DeniedByURL], s.Waiting, s.URLLost = 6, 3, true
			return s
		},
		ACME: func() certs.Stats {
			return certs.Stats{Issued: 4, NotAfter: time.Unix(1900000000, 0)}
		},
	}
}

func testSnapshot() (s relay.Snapshot) {
	s.Connections, s.Clients, s.Home = 10, 7, 3
	s.Conns, s.Keys, s.DupKeys, s.DupConns = 7, 6, 1, 2
	s.Accepts, s.Ends[relay.EndAcceptLimit], s.WebSockets = 30, 9, 2
	s.PacketsReceived = [2]uint64{100, 20}
	s.PacketsSent = 115
	s.Upgrades = 9
	s.Drops[relay.DropQueueHead][1] = relay.KindCount{Frames: 4, Bytes: 480}
	s.Ends[relay.EndNotTLS] = 5
	s.TLS = [2]uint64{1, 8}
	s.TLSNow = [2]int{2, 5}
	s.RoundTrips = relay.RoundTrips{Buckets: [8]uint64{0: 6, 4: 3, 7: 4}, Unknown: 1}
	s.QueueWait = relay.QueueWait{Mean: 1.25, Packets: 3}
	s.GoneElsewhere, s.CrossLoop = 13, 33
	s.Loops = []netpoll.Stats{{Turns: 50}, {Turns: 60, Wakeups: 31, Posts: 32}}
	return s
}

// ask sends a request to a handler without a network.
func ask(h http.Handler, method, target, from string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = from
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func bodyOf(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// browserSafe are the headers of every page for people.
var browserSafe = map[string]string{
	"Strict-Transport-Security": "max-age=63072000; includeSubDomains",
	"X-Frame-Options":           "DENY",
	"X-Content-Type-Options":    "nosniff",
}

func TestMainPages(t *testing.T) {
	main := Main(testConfig())
	for _, tc := range []struct {
		method, target string
		status         int
		body           string // a part; "" is an empty body
		headers        map[string]string
	}{
		{"GET", "/", 200, "<h1>DERP</h1>", browserSafe},
		{"GET", "/", 200, "<h1>DERP</h1>",
			map[string]string{"Content-Type": "text/html; charset=utf-8"}},
		{"GET", "/any/other/path?x=y", 200, "<h1>DERP</h1>", browserSafe},
		{"GET", "/index.html", 200, "<h1>DERP</h1>", nil},
		{"GET", "/robots.txt", 200, "Disallow: /", browserSafe},
		{"GET", "/robots.txt", 200, "User-agent: *",
			map[string]string{"Content-Type": "text/plain; charset=utf-8"}},
		{"GET", "/derp/probe", 200, "", map[string]string{"Access-Control-Allow-Origin": "*"}},
		{"HEAD", "/derp/probe", 200, "", map[string]string{"Access-Control-Allow-Origin": "*"}},
		{"GET", "/derp/latency-check", 200, "",
			map[string]string{"Access-Control-Allow-Origin": "*"}},
		{"HEAD", "/derp/latency-check", 200, "", nil},
		{"POST", "/derp/probe", 405, "bogus probe method", nil},
		{"DELETE", "/derp/latency-check", 405, "bogus probe method", nil},
		{"GET", "/generate_204", 204, "", map[string]string{"Cache-Control": "no-cache, " +
			"no-store, must-revalidate, no-transform, max-age=0", "X-Tailscale-Response": ""}},
		{"GET", "/debug/", 403, "debug access denied", nil},
	} {
		r := ask(main, tc.method, tc.target, stranger)
		body := bodyOf(t, r)
		if r.StatusCode != tc.status || !strings.Contains(body, tc.body) ||
			tc.body == "" && body != "" {
			t.Errorf("%s %s: %d %.80q, want %d with %q", tc.method, tc.target, r.StatusCode, body,
				tc.status, tc.body)
		}
		for name, want := range tc.headers {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s %s: %s is %q, want %q", tc.method, tc.target, name, got, want)
			}
		}
	}
	csp := ask(main, "GET", "/", stranger).Header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'self'", "frame-ancestors 'none'",
		"form-action 'self'", "base-uri 'self'", "block-all-mixed-content", "object-src 'none'"} {
		if !strings.Contains(csp, part) {
			t.Errorf("the content security policy %q lacks %q", csp, part)
		}
	}
}

func TestHomePages(t *testing.T) {
	for _, tc := range []struct {
		home, from string
		status     int
		location   string
		has, lacks string
	}{
		{"", stranger, 200, "", "<h1>DERP</h1>", "/debug/"},
		{"", "127.0.0.1:5", 200, "", "/debug/", "no such text"},
		{"blank", stranger, 200, "", "", "<"},
		{"https://example.com/x", stranger, 302, "https://example.com/x", "", "<h1>"},
	} {
		c := testConfig()
		c.Home = tc.home
		r := ask(Main(c), "GET", "/", tc.from)
		body := bodyOf(t, r)
		if r.StatusCode != tc.status || r.Header.Get("Location") != tc.location ||
			r.Header.Get("X-Frame-Options") == "" || !strings.Contains(body, tc.has) || strings.Contains(body, tc.lacks) {
			t.Errorf("-home %q from %s: %d to %q, %.200q", tc.home, tc.from, r.StatusCode,
				r.Header.Get("Location"), body)
		}
	}
}

func TestNoDERP(t *testing.T) {
	c := testConfig()
	if r := ask(Main(c), "GET", "/derp", stranger); r.StatusCode != 200 {
		t.Errorf("with DERP the relay answers /derp itself; the pages gave %d", r.StatusCode)
	}
	c.NoDERP = true
	r := ask(Main(c), "GET", "/derp", stranger, "Upgrade", "DERP")
	if body := bodyOf(t, r); r.StatusCode != 404 || body != "derp server disabled\n" {
		t.Errorf("without DERP: %d %q", r.StatusCode, body)
	}
}

func TestChallenge(t *testing.T) {
	long := strings.Repeat("a", challengeMax)
	for challenge, want := range map[string]string{
		"ts_derp.example.com": "response ts_derp.example.com",
		"aZ09._:-":            "response aZ09._:-",
		long:                  "response " + long,
		long + "a":            "",
		"a b":                 "",
		"a\r\nX: y":           "",
		"<script>":            "",
		"ä":                   "",
		"":                    "",
	} {
		for name, h := range map[string]http.Handler{
			"main": Main(testConfig()), "plain": Plain(Main(testConfig()))} {
			r := ask(h, "GET", "/generate_204", stranger, "X-Tailscale-Challenge", challenge)
			if got := r.Header.Get("X-Tailscale-Response"); r.StatusCode != 204 || got != want {
				t.Errorf("%s: challenge %q: %d %q, want %q", name, challenge, r.StatusCode, got, want)
			}
		}
	}
}

func TestPlainPages(t *testing.T) {
	plain := Plain(Main(testConfig()))
	for _, tc := range []struct {
		method, target, from string
		status               int
		location             string
	}{
		{"GET", "http://derp.example.com/", stranger, 302, "https://derp.example.com/"},
		{"HEAD", "http://derp.example.com/a?b=c", stranger, 302, "https://derp.example.com/a?b=c"},
		{"GET", "http://derp.example.com:80/", stranger, 302, "https://derp.example.com/"},
		{"GET", "http://[2001:db8::1]:80/x", stranger, 302, "https://[2001:db8::1]/x"},
		{"GET", "http://[2001:db8::1]/x", stranger, 302, "https://[2001:db8::1]/x"},
		{"GET", "http://derp.example.com/", "127.0.0.1:9", 302, "https://derp.example.com/debug/"},
		{"GET", "http://derp.example.com/derp/probe", stranger, 302,
			"https://derp.example.com/derp/probe"},
		{"GET", "http://derp.example.com//evil.example/", stranger, 307, "/evil.example/"},
		{"POST", "http://derp.example.com/", stranger, 400, ""},
		{"PUT", "http://derp.example.com/x", stranger, 400, ""},
		{"GET", "http://derp.example.com/generate_204", stranger, 204, ""},
		{"GET", "http://derp.example.com/debug/varz", stranger, 403, ""},
		{"GET", "http://derp.example.com/debug/varz", "[::1]:9", 200, ""},
	} {
		r := ask(plain, tc.method, tc.target, tc.from)
		if r.StatusCode != tc.status || r.Header.Get("Location") != tc.location {
			t.Errorf("%s %s from %s: %d to %q, want %d to %q", tc.method, tc.target, tc.from,
				r.StatusCode, r.Header.Get("Location"), tc.status, tc.location)
		}
		if tc.status == 400 && bodyOf(t, r) != "Use HTTPS\n" {
			t.Errorf("%s %s: another body", tc.method, tc.target)
		}
	}
}

func TestDebugAccess(t *testing.T) {
	c := testConfig()
	c.Clients = clientsOf()
	main := Main(c)
	paths := []string{"/debug/", "/debug/varz", "/debug/vars", "/debug/gc", "/debug/pprof/",
		"/debug/check", "/debug/clients/", "/debug/runtime-metrics",
		"/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=1", "/debug/pprof/symbol"}
	for _, tc := range []struct {
		from, forwarded string
		allowed         bool
	}{
		{"127.0.0.1:1", "", true}, {"127.9.9.9:1", "", true}, {"[::1]:1", "", true},
		{"[::ffff:127.0.0.1]:1", "", true},
		{"100.64.0.1:1", "", true}, {"100.127.255.254:1", "", true},
		{"[fd7a:115c:a1e0::1]:1", "", true},
		{"100.115.91.255:1", "", true}, {"100.115.94.0:1", "", true},
		{"100.115.92.0:1", "", false}, {"100.115.93.255:1", "", false},
		{"[::ffff:100.115.92.7]:1", "", false}, // ChromeOS's virtual machines
		{"100.63.255.255:1", "", false}, {"100.128.0.1:1", "", false},
		{"[fd7a:115c:a1e1::1]:1", "", false}, {"192.168.1.1:1", "", false},
		{"10.0.0.1:1", "", false}, {stranger, "", false}, {"", "", false}, {"@", "", false},
		{"127.0.0.1:1", "203.0.113.5", false}, {"127.0.0.1:1", "127.0.0.1", false},
		{"100.64.0.1:1", "x", false}, {"127.0.0.1:1", "present but empty", false},
	} {
		for _, path := range paths {
			var headers []string
			if tc.forwarded == "present but empty" {
				headers = []string{"X-Forwarded-For", ""}
			} else if tc.forwarded != "" {
				headers = []string{"X-Forwarded-For", tc.forwarded}
			}
			want := http.StatusForbidden
			if tc.allowed {
				want = http.StatusOK
			}
			if r := ask(main, "GET", path, tc.from, headers...); r.StatusCode != want {
				t.Errorf("%s from %q (forwarded for %q): %d, want %d", path, tc.from, tc.forwarded,
					r.StatusCode, want)
			}
		}
	}
	if r := ask(main, "GET", "/debug/nothing", "127.0.0.1:1"); r.StatusCode != 404 {
		t.Errorf("an unknown debug page: %d", r.StatusCode)
	}
	if r := ask(main, "GET", "/debug/nothing", stranger); r.StatusCode != 403 {
		t.Errorf("an unknown debug page, to a stranger: %d", r.StatusCode)
	}
}
