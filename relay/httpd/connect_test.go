package httpd

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestConnect: who may not CONNECT, and where to.
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

// timed is a connection that notes whether it was given a time to end.
type timed struct {
	net.Conn
	bounded *atomic.Bool
}

func (c timed) SetDeadline(at time.Time) error {
	if !at.IsZero() {
		c.bounded.Store(true)
	}
	return c.Conn.SetDeadline(at)
}

// TestTunnel: bytes pass both ways, what the client has sent at once included, for as long as both
// sides want; the end of one side ends the other.
func TestTunnel(t *testing.T) {
	for _, clientEnds := range []bool{true, false} {
		far, control := net.Pipe()
		var bounded atomic.Bool
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			tunnel(w, timed{far, &bounded})
		}))
		client, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(client, "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\nearly")
		in := bufio.NewReader(client)
		if r, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect}); err != nil ||
			r.StatusCode != http.StatusOK {
			t.Fatal(r, err)
		}
		hear := func(from io.Reader, want string) {
			t.Helper()
			b := make([]byte, len(want))
			if _, err := io.ReadFull(from, b); err != nil || string(b) != want {
				t.Fatalf("%q arrived, %v, want %q", b, err, want)
			}
		}
		hear(control, "early")
		io.WriteString(control, "answer")
		hear(in, "answer")
		io.WriteString(client, "more")
		hear(control, "more")
		if bounded.Load() {
			t.Error("a tunnel was given a time to end")
		}
		if clientEnds {
			client.Close()
			_, err = io.ReadAll(control)
		} else {
			control.Close()
			_, err = io.ReadAll(in)
		}
		if err != nil {
			t.Errorf("client ends: %v: %v", clientEnds, err)
		}
		client.Close()
		srv.Close()
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
