package upgrade

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, head string
		want       Verdict
	}{
		{"tailscale", "GET /derp HTTP/1.1|Host: h|Upgrade: DERP|Connection: Upgrade",
			Verdict{Kind: DERP}},
		{"fast start", "GET /derp HTTP/1.1|Host: h|Upgrade: DERP|Derp-Fast-Start: 1",
			Verdict{Kind: DERP, Fast: true}},
		{"not ideal", "GET /derp HTTP/1.1|Host: h|Upgrade: derp|Ideal-Node: 1b",
			Verdict{Kind: DERP, NotIdeal: true}},
		{"any method", "POST /derp HTTP/1.1|Host: h|Upgrade: derp", Verdict{Kind: DERP}},
		{"with a query", "GET /derp?x=1 HTTP/1.1|Host: h|Upgrade: derp", Verdict{Kind: DERP}},
		{"old websocket", "GET /derp HTTP/1.1|Host: h|Upgrade: websocket",
			Verdict{Kind: DERP}},
		{"websocket", "GET /derp HTTP/1.1|Host: h|Upgrade: WebSocket|" +
			"Sec-WebSocket-Protocol: a, derp", Verdict{Kind: WebSocket}},
		{"no upgrade", "GET /derp HTTP/1.1|Host: h", Verdict{}},
		{"wrong upgrade", "GET /derp HTTP/1.1|Host: h|Upgrade: h2c", Verdict{}},
		{"wrong path", "GET /derp/probe HTTP/1.1|Host: h|Upgrade: derp", Verdict{}},
		{"old HTTP", "GET /derp HTTP/1.0|Host: h|Upgrade: derp", Verdict{}},
		{"with a body", "POST /derp HTTP/1.1|Host: h|Upgrade: derp|Content-Length: 3",
			Verdict{}},
		{"garbage", "\x00\x01\x02", Verdict{}},
	} {
		head := strings.ReplaceAll(tc.head, "|", "\r\n") + "\r\n\r\n"
		if _, got := Parse([]byte(head)); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
		if n := HeadLen([]byte(head + "DERP frames follow")); n != len(head) {
			t.Errorf("%s: head of %d bytes, want %d", tc.name, n, len(head))
		}
	}
	if n := HeadLen([]byte("GET /derp HTTP/1.1\r\nHost: h\r\n")); n != 0 {
		t.Errorf("a torn head has length %d", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("GET /derp HTTP/1.1\r\nHost: h\r\nUpgrade: DERP\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := HeadLen(b); n > 0 {
			if n > len(b) {
				t.Fatalf("head of %d bytes in %d", n, len(b))
			}
			Parse(b[:n])
		}
	})
}
