package websock

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const goodHead = "GET /derp HTTP/1.1|Host: h|Connection: Upgrade|Upgrade: websocket|" +
	"Sec-WebSocket-Version: 13|Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==|" +
	"Sec-WebSocket-Protocol: derp"

func request(t *testing.T, head string) *http.Request {
	t.Helper()
	text := strings.ReplaceAll(head, "|", "\r\n") + "\r\n\r\n"
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAccept(t *testing.T) {
	// The key and what it makes are RFC 6455 §1.3's.
	const want = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" +
		"Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" +
		"Sec-WebSocket-Protocol: derp\r\n\r\n"
	for name, head := range map[string]string{
		"plain": goodHead,
		"Firefox": strings.Replace(goodHead, "Connection: Upgrade",
			"Connection: keep-alive, Upgrade", 1),
		"case and space": strings.NewReplacer("Connection: Upgrade", "Connection:  uPGRADE ",
			"websocket|", "WebSocket|").Replace(goodHead),
		"several subprotocols": goodHead + "2, derp , chat",
		"lines": strings.Replace(goodHead, ": derp",
			": a|Sec-Websocket-Protocol: derp", 1),
		"any origin": goodHead + "|Origin: https://elsewhere.example",
		"extensions are not taken": goodHead +
			"|Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
	} {
		response, err := Accept(request(t, head))
		if string(response) != want || err != nil {
			t.Errorf("%s: %v, %q", name, err, response)
		}
	}
}

func TestRefusals(t *testing.T) {
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	for _, tc := range []struct {
		name     string
		old, new string // replaced in the good head
		status   int
		header   string
		says     string
	}{
		{"HTTP/1.0", "HTTP/1.1", "HTTP/1.0", 426, "Upgrade: websocket", `"HTTP/1.0"`},
		{"Connection", "Connection: Upgrade", "Connection: close", 426, "Connection: Upgrade",
			`"close"`},
		{"no Connection", "Connection: Upgrade|", "", 426, "Upgrade: websocket", "Connection"},
		{"Upgrade", ": websocket", ": derp", 426, "Upgrade: websocket", `"derp"`},
		{"method", "GET", "POST", 405, "Allow: GET", `"POST"`},
		{"version", "13", "8", 400, "Sec-Websocket-Version: 13", `"8"`},
		{"no version", "Sec-WebSocket-Version: 13|", "", 400, "Sec-Websocket-Version: 13", `""`},
		{"no key", "Sec-WebSocket-Key: " + key + "|", "", 400, "", "0 Sec-WebSocket-Key"},
		{"two keys", key, key + "|Sec-WebSocket-Key: " + key, 400, "", "2 Sec-WebSocket-Key"},
		{"a short key", key, "dGhlIHNhbXBsZQ==", 400, "", "16 bytes"},
		{"no base64", key, "dGhlIHNhbXBsZSBub25jZ", 400, "", "16 bytes"},
		{"a long key is cut", key, strings.Repeat("k", 8000), 400, "", strings.Repeat("k", 60) + `"`},
		{"subprotocol", ": derp", ": derpy, DERP", 400, "", `"derpy, DERP"`},
		{"no subprotocol", "|Sec-WebSocket-Protocol: derp", "", 400, "", `speaks "derp"`},
	} {
		r := request(t, strings.Replace(goodHead, tc.old, tc.new, 1))
		response, err := Accept(r)
		e, ok := errors.AsType[*Refusal](err)
		if !ok || response != nil {
			t.Errorf("%s: %v, response %q", tc.name, err, response)
			continue
		}
		rec := httptest.NewRecorder()
		e.ServeHTTP(rec, r)
		var head bytes.Buffer
		rec.Header().Write(&head)
		if rec.Code != tc.status || e.Status != tc.status || !strings.Contains(head.String(), tc.header) {
			t.Errorf("%s: %d %s", tc.name, rec.Code, head.String())
		}
		if body := rec.Body.String(); !strings.Contains(body, tc.says) || len(body) > 250 ||
			!strings.HasSuffix(err.Error(), strings.TrimSpace(body)) {
			t.Errorf("%s: %q", tc.name, body)
		}
	}
}

func FuzzAccept(f *testing.F) {
	f.Add(strings.ReplaceAll(goodHead, "|", "\r\n") + "\r\n\r\n")
	f.Fuzz(func(t *testing.T, head string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
		if err != nil {
			return
		}
		response, err := Accept(r)
		if (err == nil) != bytes.HasSuffix(response, []byte("\r\n\r\n")) ||
			bytes.Count(response, []byte("\r\n")) > 6 {
			t.Fatalf("%v: %q", err, response)
		}
	})
}
