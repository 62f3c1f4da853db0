package httpd

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestConnect: who may not CONNECT, and where to. A tunnel itself needs a control server.
func TestConnect(t *testing.T) {
	for _, tc := range []struct {
		target  string
		secure  bool
		enabled bool
		body    string
	}{
		{"controlplane.tailscale.com:443", false, true, "over TLS only"},
		{"controlplane.tailscale.com:443", true, false, "not enabled"},
		{"controlplane.tailscale.com:22", true, true, "not allowed"},
		{"controlplane.tailscale.com", true, true, "not allowed"},
		{"derp1.tailscale.com:443", true, true, "not allowed"},
		{"example.com:443", true, true, "not allowed"},
		{"eviltailscale.com:443", true, true, "not allowed"},
		{"tailscale.com.example:443", true, true, "not allowed"},
		{"127.0.0.1:443", true, true, "not allowed"},
	} {
		c := testConfig()
		c.ACE = tc.enabled
		srv := httptest.NewUnstartedServer(Main(c))
		if tc.secure {
			srv.StartTLS()
		} else {
			srv.Start()
		}
		status, body := connectTo(t, srv, tc.target, tc.secure)
		if status != http.StatusForbidden || !strings.Contains(body, tc.body) {
			t.Errorf("%+v: %d %q", tc, status, body)
		}
		srv.Close()
	}
	for target, want := range map[string]bool{"controlplane.tailscale.com:443": true,
		"login.tailscale.com:80": true, "login.tailscale.com:8080": false} {
		if mayConnect(target) != want {
			t.Errorf("%s: %v", target, !want)
		}
	}
}

// connectTo asks for a tunnel on a connection of its own.
func connectTo(t *testing.T, srv *httptest.Server, target string, secure bool) (int, string) {
	t.Helper()
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	defer c.Close()
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target)
	r, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, bodyOf(t, r)
}
