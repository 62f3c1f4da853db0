package upgrade

import (
	"bufio"
	"bytes"
	"net/http"
	"reflect"
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
}

// TestHeadLen: the head ends at the first empty line, however its lines end.
func TestHeadLen(t *testing.T) {
	const get = "GET / HTTP/1.1"
	for _, tc := range []struct{ head, rest string }{
		{get + "\r\nHost: h\r\n\r\n", "frames"},
		{get + "\nHost: h\n\n", "frames"},
		{get + "\nHost: h\n\r\n", "frames"},
		{get + "\r\nHost: h\r\n\n", "frames"},
		{get + "\nHost: h\n\n", "frames\r\n\r\n"},
		{get + "\r\nHost: h\r\n\r\n", "frames\n\n"},
		{get + "\r\nA: b\r\n \r\n\tc\r\n\r\n", "\r\n"},
		{get + "\n\n", "\n\n"},
		{"\r\n", get + "\r\n\r\n"}, // malformed, for net/http to answer
		{"\n", ""},
		{"", ""},
		{"", "\r"},
		{"", get},
		{"", get + "\r\nHost: h\r\n"},
		{"", get + "\r\nHost: h\r\n\r"},
		{"", get + "\r\nHost: h\r\n\r\r\n"}, // a line of one carriage return
		{"", get + "\r\nHost: h\r\n \n"},
	} {
		b := []byte(tc.head + tc.rest)
		if n := HeadLen(b); n != len(tc.head) {
			t.Errorf("%q: head of %d bytes, want %d", b, n, len(tc.head))
		}
		againstHTTP(t, b)
	}
}

// againstHTTP compares with net/http: of a request that it takes, the head is what it reads, and
// says the same on its own.
func againstHTTP(t *testing.T, b []byte) {
	t.Helper()
	all := bytes.NewReader(b)
	buffered := bufio.NewReader(all)
	want, err := http.ReadRequest(buffered)
	read := len(b) - all.Len() - buffered.Buffered()
	n := HeadLen(b)
	switch {
	case n > len(b):
		t.Fatalf("%q: head of %d bytes in %d", b, n, len(b))
	case err == nil && n != read:
		t.Fatalf("%q: head of %d bytes, net/http read %d", b, n, read)
	case n == 0:
		return
	}
	got, v := Parse(b[:n])
	if (got != nil) != (err == nil) {
		t.Fatalf("%q: a request %v, of net/http an error %v", b, got != nil, err)
	}
	if got == nil {
		if v != (Verdict{}) {
			t.Fatalf("%q: malformed, but %+v", b, v)
		}
		return
	}
	if v != Judge(want) || got.Method != want.Method || got.RequestURI != want.RequestURI ||
		got.Host != want.Host || !reflect.DeepEqual(got.Header, want.Header) {
		t.Fatalf("%q: read as %+v, of net/http as %+v", b, got, want)
	}
	if early := HeadLen(b[:n-1]); early != 0 {
		t.Fatalf("%q: head of %d bytes before it is whole", b[:n-1], early)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("GET /derp HTTP/1.1\r\nHost: h\r\nUpgrade: DERP\r\n\r\n"))
	f.Add([]byte("GET /derp HTTP/1.1\nHost: h\nUpgrade: websocket\n\r\n\x04\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nA: b\r\n c\r\nContent-Length: 4\r\n\nbody"))
	f.Fuzz(againstHTTP)
}
