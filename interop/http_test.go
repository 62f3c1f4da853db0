package interop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"derpd/interop/harness"

	"tailscale.com/types/key"
)

// browserHeaders protect pages that a person may open.
var browserHeaders = map[string]string{
	"Strict-Transport-Security": "max-age=63072000; includeSubDomains",
	"X-Frame-Options":           "DENY",
	"X-Content-Type-Options":    "nosniff",
}

var pages = []struct {
	method  string
	path    string
	status  int
	body    string            // what it must contain; "" means it must be empty
	headers map[string]string // what the answer must carry
}{
	{"GET", "/", 200, "<html", browserHeaders},
	{"GET", "/no/such/page", 200, "<html", browserHeaders},
	{"GET", "/robots.txt", 200, "User-agent: *\nDisallow: /\n", browserHeaders},
	{"GET", "/derp", 426, "upgrade", nil},
	{"POST", "/derp", 426, "upgrade", nil},
	{"GET", "/derp/probe", 200, "", map[string]string{"Access-Control-Allow-Origin": "*"}},
	{"GET", "/derp/latency-check", 200, "", map[string]string{"Access-Control-Allow-Origin": "*"}},
	{"HEAD", "/derp/probe", 200, "", map[string]string{"Access-Control-Allow-Origin": "*"}},
	{"HEAD", "/derp/latency-check", 200, "", nil},
	{"POST", "/derp/probe", 405, "bogus", nil},
	{"PUT", "/derp/latency-check", 405, "bogus", nil},
	{"GET", "/generate_204", 204, "", map[string]string{
		"Cache-Control": "no-cache, no-store, must-revalidate, no-transform, max-age=0"}},
	{"GET", "/bootstrap-dns", 200, "", browserHeaders},
	{"GET", "/debug/", 200, "/debug/varz", nil},
	{"GET", "/debug/vars", 200, `"gauge_current_connections"`, nil},
	{"GET", "/debug/varz", 200, "derp_current_connections", nil},
}

func TestPages(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		for _, p := range pages {
			name := p.method + " " + p.path
			req, err := http.NewRequest(p.method, r.URL(p.path), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := r.HTTP().Do(req)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if resp.StatusCode != p.status {
				t.Errorf("%s: status %s, want %d", name, resp.Status, p.status)
			}
			if p.body == "" && len(body) > 0 && p.path != "/bootstrap-dns" {
				t.Errorf("%s: body %q, want none", name, body)
			}
			if !strings.Contains(string(body), p.body) {
				t.Errorf("%s: body %.200q, want %q in it", name, body, p.body)
			}
			for h, want := range p.headers {
				if got := resp.Header.Get(h); got != want {
					t.Errorf("%s: %s: %q, want %q", name, h, got, want)
				}
			}
		}
	})
}

func TestDebugVarsIsJSON(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{})
	_, body := r.Get(t, "/debug/vars")
	var vars struct {
		Derp map[string]json.RawMessage `json:"derp"`
	}
	if err := json.Unmarshal([]byte(body), &vars); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gauge_current_connections", "packets_sent", "version"} {
		if len(vars.Derp[name]) == 0 {
			t.Errorf("/debug/vars lacks derp.%s", name)
		}
	}
}

// Requests that a proxy passed on are a stranger's, whatever address they come from.
func TestDebugIsRefusedBehindProxies(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{})
	for _, path := range []string{"/debug/", "/debug/vars", "/debug/varz", "/debug/pprof/"} {
		req, _ := http.NewRequest("GET", r.URL(path), nil)
		req.Header.Set("X-Forwarded-For", "127.0.0.1")
		resp, err := r.HTTP().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s with X-Forwarded-For: %s, want 403", path, resp.Status)
		}
	}
}

// The challenge proves to a client that no captive portal answered in the relay's place.
func TestChallenge(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{TLS: true, HTTPPort: true})
	for _, c := range []struct{ challenge, want string }{
		{"ts_" + harness.Hostname, "response ts_" + harness.Hostname},
		{"AZaz09.-_:", "response AZaz09.-_:"},
		{strings.Repeat("x", 64), "response " + strings.Repeat("x", 64)},
		{strings.Repeat("x", 65), ""},
		{"not allowed", ""},
		{"<script>", ""},
		{"", ""},
	} {
		for _, url := range []string{
			r.URL("/generate_204"), "http://" + r.PortAddr + "/generate_204",
		} {
			req, _ := http.NewRequest("GET", url, nil)
			req.Header.Set("X-Tailscale-Challenge", c.challenge)
			resp, err := r.HTTP().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			got := resp.Header.Get("X-Tailscale-Response")
			if got != c.want || resp.StatusCode != 204 {
				t.Errorf("%s, challenge %q: %s, response %q, want 204 and %q",
					url, c.challenge, resp.Status, got, c.want)
			}
		}
	}
}

// Beside TLS, the plain port sends everyone but probes to https.
func TestPortEighty(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{TLS: true, HTTPPort: true})
	get := func(method, path string) *http.Response {
		req, _ := http.NewRequest(method, "http://"+r.PortAddr+path, nil)
		req.Host = harness.Hostname
		resp, err := r.HTTP().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	for path, want := range map[string]string{
		"/":           "https://" + harness.Hostname + "/debug/", // loopback may see /debug
		"/derp/probe": "https://" + harness.Hostname + "/derp/probe",
		"/a?b=c":      "https://" + harness.Hostname + "/a?b=c",
	} {
		resp := get("GET", path)
		if got := resp.Header.Get("Location"); resp.StatusCode != 302 || got != want {
			t.Errorf("GET %s: %s to %q, want 302 to %q", path, resp.Status, got, want)
		}
	}
	if resp := get("POST", "/"); resp.StatusCode != 400 {
		t.Errorf("POST /: %s, want 400", resp.Status)
	}
	if resp := get("GET", "/debug/varz"); resp.StatusCode != 200 {
		t.Errorf("GET /debug/varz: %s, want 200", resp.Status)
	}
}

// One connection: some ordinary requests first, then the upgrade, then DERP.
func TestUpgradeOnAKeptConnection(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		other := r.Login(t)
		c := r.Dial(t)
		c.SetDeadline(time.Now().Add(harness.ReplyWaitMax))
		brw := bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c))
		for _, path := range []string{"/derp/probe", "/generate_204", "/", "/derp", "/robots.txt"} {
			fmt.Fprintf(brw, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, harness.Hostname)
			brw.Flush()
			resp, err := http.ReadResponse(brw.Reader, nil)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
		}
		c.SetDeadline(time.Time{})
		if resp := harness.Upgrade(t, brw); resp.StatusCode != 101 {
			t.Fatalf("upgrade after ordinary requests: %s", resp.Status)
		}
		p := harness.NewPeer(t, c, brw, key.NewNode())
		p.WantServerInfo(t)
		other.SendTo(t, p.Key, []byte("found you"))
		p.WantPacket(t, other.Key, []byte("found you"))
		p.Ping(t)
	})
}

// A request torn into single bytes is a request all the same.
func TestTornRequest(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		c := r.Dial(t)
		c.SetDeadline(time.Now().Add(harness.ReplyWaitMax))
		io.WriteString(&pieceConn{Conn: c, piece: 1},
			"GET /generate_204 HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 204 {
			t.Fatalf("%v, %v", resp, err)
		}
	})
}
