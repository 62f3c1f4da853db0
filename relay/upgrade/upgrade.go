package upgrade

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"sync"
)

// Path is where DERP is offered.
const Path = "/derp"

// Kind is what a request asks for.
type Kind uint8

const (
	Other     Kind = iota // no upgrade: an ordinary HTTP request
	DERP                  // the switch to DERP frames
	WebSocket             // DERP frames in WebSocket messages (subprotocol derp)
)

// Verdict is what a request's head says.
type Verdict struct {
	Kind Kind
	// Fast: the client does not wait for a response and none must be sent
	// (Derp-Fast-Start: 1).
	Fast bool
	// NotIdeal: the client says it would rather be with another node (Ideal-Node).
	NotIdeal bool
}

// HeadLen returns the length of the request head at the start of b, its empty line
// included, or 0 if it is not whole. A line ends as net/http has it: by a line feed, with or
// without a carriage return (RFC 9112 §2.2). What is behind the first empty line is not the
// head's, whatever it looks like.
func HeadLen(b []byte) int {
	for at := 0; ; {
		n := bytes.IndexByte(b[at:], '\n') + 1
		if n == 0 {
			return 0
		}
		line := b[at : at+n]
		at += n
		if n == 1 || n == 2 && line[0] == '\r' {
			return at
		}
	}
}

// readers are kept, since each has a buffer of 4 KiB and is needed for microseconds.
var readers = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

// Parse judges a whole request head. The request is nil if it is malformed; its body is not to
// be read.
func Parse(head []byte) (*http.Request, Verdict) {
	b := readers.Get().(*bufio.Reader)
	b.Reset(bytes.NewReader(head))
	r, err := http.ReadRequest(b)
	b.Reset(nil)
	readers.Put(b)
	if err != nil {
		return nil, Verdict{}
	}
	return r, Judge(r)
}

// Judge tells what a parsed request asks for. Upstream looks neither at the method nor at
// Connection, and takes "websocket" without the subprotocol for plain DERP, which old
// clients send; so do we. HTTP/1.0 and bodies cannot be switched.
func Judge(r *http.Request) Verdict {
	if r.URL.Path != Path || !r.ProtoAtLeast(1, 1) || r.ContentLength > 0 ||
		len(r.TransferEncoding) > 0 {
		return Verdict{}
	}
	v := Verdict{Fast: r.Header.Get("Derp-Fast-Start") == "1",
		NotIdeal: r.Header.Get("Ideal-Node") != ""}
	switch strings.ToLower(r.Header.Get("Upgrade")) {
	case "derp":
		v.Kind = DERP
	case "websocket":
		v.Kind = DERP
		if HasToken(r.Header.Values("Sec-Websocket-Protocol"), "derp") {
			v.Kind = WebSocket
		}
	default:
		return Verdict{}
	}
	return v
}

// HasToken looks for a token in header lines of tokens separated by commas.
func HasToken(lines []string, token string) bool {
	return hasToken(lines, func(s string) bool { return s == token })
}

// HasTokenFold is HasToken for a token whose case does not matter.
func HasTokenFold(lines []string, token string) bool {
	return hasToken(lines, func(s string) bool { return strings.EqualFold(s, token) })
}

func hasToken(lines []string, is func(string) bool) bool {
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			if is(strings.TrimSpace(part)) {
				return true
			}
		}
	}
	return false
}
