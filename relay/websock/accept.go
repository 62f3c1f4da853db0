package websock

import (
	"crypto/sha1" // asked for by RFC 6455 §4.2.2; it guards nothing
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"derpd/relay/upgrade"
)

// Subprotocol is what a client must offer to speak DERP.
const Subprotocol = "derp"

// acceptGUID is appended to the client's key before hashing (RFC 6455 §1.3).
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// Refusal says why a request is no opening handshake. It can answer the request itself.
type Refusal struct {
	Status int    // of the HTTP answer
	Text   string // its body, one line
	name   string // a header that goes with it, if not empty
	value  string
}

func (e *Refusal) Error() string { return "websock: " + e.Text }

// ServeHTTP answers with the refusal.
func (e *Refusal) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if e.Status == http.StatusUpgradeRequired {
		w.Header().Set("Connection", "Upgrade")
	}
	if e.name != "" {
		w.Header().Set(e.name, e.value)
	}
	http.Error(w, e.Text, e.Status)
}

// Accept judges an opening handshake (RFC 6455 §4.2.1) and returns the whole response, 101
// with the subprotocol derp and no extension. Any Origin will do: DERP's own login decides.
// A request that is none gives a *Refusal, whose status is derper's for the same request.
func Accept(r *http.Request) (response []byte, err error) {
	if err := check(r); err != nil {
		return nil, err
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + acceptGUID))
	response = append(response, "HTTP/1.1 101 Switching Protocols\r\n"+
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	response = base64.StdEncoding.AppendEncode(response, sum[:])
	return append(response, "\r\nSec-WebSocket-Protocol: "+Subprotocol+"\r\n\r\n"...), nil
}

func check(r *http.Request) error {
	h := r.Header
	switch {
	case !r.ProtoAtLeast(1, 1):
		return upgradeRequired("WebSocket needs HTTP/1.1, not %.*q", quotedMax, r.Proto)
	case !upgrade.HasTokenFold(h.Values("Connection"), "upgrade"):
		return upgradeRequired("Connection is %.*q; WebSocket needs Upgrade in it",
			quotedMax, h.Get("Connection"))
	case !upgrade.HasTokenFold(h.Values("Upgrade"), "websocket"):
		return upgradeRequired("Upgrade is %.*q; WebSocket needs websocket in it",
			quotedMax, h.Get("Upgrade"))
	case r.Method != http.MethodGet:
		return &Refusal{Status: http.StatusMethodNotAllowed, name: "Allow", value: "GET",
			Text: fmt.Sprintf("the method is %.*q; WebSocket needs GET", quotedMax, r.Method)}
	case h.Get("Sec-Websocket-Version") != "13":
		e := badRequest("Sec-WebSocket-Version is %.*q; this server speaks 13", quotedMax,
			h.Get("Sec-Websocket-Version"))
		e.name, e.value = "Sec-WebSocket-Version", "13"
		return e
	}
	keys := h.Values("Sec-Websocket-Key")
	if len(keys) != 1 {
		return badRequest("%d Sec-WebSocket-Key headers; WebSocket needs one", len(keys))
	}
	if nonce, err := base64.StdEncoding.DecodeString(keys[0]); err != nil ||
		len(nonce) != nonceLen {
		return badRequest("Sec-WebSocket-Key is %.*q; WebSocket needs %d bytes in base64",
			quotedMax, keys[0], nonceLen)
	}
	// Its case matters, as it does to derper.
	if offered := h.Values("Sec-Websocket-Protocol"); !upgrade.HasToken(offered, Subprotocol) {
		return badRequest("Sec-WebSocket-Protocol is %.*q; this server speaks %q", quotedMax,
			strings.Join(offered, ", "), Subprotocol)
	}
	return nil
}

func upgradeRequired(format string, args ...any) *Refusal {
	return &Refusal{Status: http.StatusUpgradeRequired, name: "Upgrade", value: "websocket",
		Text: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) *Refusal {
	return &Refusal{Status: http.StatusBadRequest, Text: fmt.Sprintf(format, args...)}
}
