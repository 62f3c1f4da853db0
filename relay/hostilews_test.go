package relay

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"syscall"
	"testing"

	"derpd/relay/derp"
)

const webSocketRequest = "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n" +
	"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: derp\r\n\r\n"

// masked is a client's WebSocket frame: its first byte, and its payload under a mask.
func masked(first byte, payload []byte) []byte {
	f := []byte{first, 0x80 | 126, 0, 0, 1, 2, 3, 4}
	binary.BigEndian.PutUint16(f[2:], uint16(len(payload)))
	if len(payload) < 126 {
		f = []byte{first, 0x80 | byte(len(payload)), 1, 2, 3, 4}
	}
	for i, b := range payload {
		f = append(f, b^byte(i%4+1))
	}
	return f
}

// TestBadWebSockets: a breach of RFC 6455 ends the connection with a close frame that has
// the right code; nobody else notices.
func TestBadWebSockets(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{})
		others := r.bystand(t)
		for name, tc := range map[string]struct {
			bytes []byte
			code  uint16 // 0: a close frame without one
			why   Reason
		}{
			"no mask":          {[]byte{0x82, 1, 7}, 1002, EndWebSocket},
			"reserved bits":    {masked(0xf2, []byte{1}), 1002, EndWebSocket},
			"reserved opcode":  {masked(0x83, []byte{1}), 1002, EndWebSocket},
			"continues what":   {masked(0x80, []byte{1}), 1002, EndWebSocket},
			"long ping":        {masked(0x89, make([]byte, 126)), 1002, EndWebSocket},
			"ping in parts":    {masked(0x09, []byte{1}), 1002, EndWebSocket},
			"huge message":     {[]byte{0x82, 0xff, 0x80, 13: 0}, 1002, EndWebSocket},
			"bad, then more":   {append(masked(0xf2, nil), make([]byte, 1<<20)...), 1002, EndWebSocket},
			"close":            {masked(0x88, []byte{3, 232}), 1000, EndPeerClosed},
			"close, no code":   {masked(0x88, nil), 0, EndPeerClosed},
			"close, odd code":  {masked(0x88, []byte{0, 7}), 1002, EndWebSocket},
			"close, half code": {masked(0x88, []byte{3}), 1002, EndWebSocket},
		} {
			t.Run(name, func(t *testing.T) {
				raw := r.tcp(t)
				c, err := r.over(raw)
				if err != nil {
					t.Fatal(err)
				}
				io.WriteString(c, webSocketRequest)
				in := bufio.NewReader(c)
				answer, err := http.ReadResponse(in, nil)
				if err != nil || answer.StatusCode != 101 {
					t.Fatalf("the upgrade was answered %v, %v", answer, err)
				}
				var greeting [2 + derp.HeaderLen + 40]byte // ServerKey in a message
				if _, err := io.ReadFull(in, greeting[:]); err != nil || greeting[0] != 0x82 {
					t.Fatalf("the greeting is %x, %v", greeting, err)
				}
				r.wantEnd(t, []Reason{tc.why}, func() {
					c.Write(tc.bytes)
					want := []byte{0x88, 2, byte(tc.code >> 8), byte(tc.code)}
					if tc.code == 0 {
						want = []byte{0x88, 0}
					}
					got := make([]byte, len(want))
					_, err := io.ReadFull(in, got)
					if len(tc.bytes) < 1<<20 { // else it is left to the relay to end the connection
						raw.CloseWrite()
					}
					rest, restErr := io.ReadAll(in)
					if len(tc.bytes) >= 1<<20 && errors.Is(restErr, syscall.ECONNRESET) {
						restErr = nil // so the relay ends it if we took too long to write the rest
					}
					if got = append(got, rest...); err != nil || restErr != nil ||
						!bytes.Equal(got, want) {
						t.Errorf("answered %x, %v, %v; want %x", got, err, restErr, want)
					}
				})
				others.check(t, true)
			})
		}
	})
}
