package relay

import (
	"crypto/tls"
	"errors"
	"time"

	"derpd/tlsengine"
)

// The fake handshake: a record of type 22 that carries the secret from which both ends make
// their keys, answered by a flight; in its long form the client answers once more. It costs
// microseconds and has every shape that matters to the relay: several steps, a last flight
// ahead of the first record, bytes behind the handshake, failure.
const (
	simHelloLong = 1 << iota // hello's first byte: another flight of the client follows
	simHelloBad              // the server refuses it
)

const (
	simSecretLen = 32
	simHelloMin  = 1 + simSecretLen
)

var errSimHello = errors.New("simulation: a hello that is to be refused")

// simRecord appends a handshake record.
func simRecord(dst []byte, minor byte, body []byte) []byte {
	return append(append(dst, 22, 3, minor, byte(len(body)>>8), byte(len(body))), body...)
}

// simFlight is what the server says in one step.
var simFlight = simRecord(nil, 3, make([]byte, 700))

// simAlert is what it says with a refusal.
var simAlert = []byte{21, 3, 3, 0, 2, 2, 40}

// simPair makes the two ends of a session from a hello.
func simPair(hello []byte) (client, server tlsengine.Session) {
	kinds := [...][2]uint16{
		{tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256},
		{tls.VersionTLS13, tls.TLS_CHACHA20_POLY1305_SHA256},
		{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
	}
	secret := hello[1:simHelloMin]
	kind := kinds[int(secret[0])%len(kinds)]
	client, server, err := tlsengine.NewPair(kind[0], kind[1], secret)
	if err != nil {
		panic(err)
	}
	return client, server
}

// simHandshake is the server's side, a Handshaker.
type simHandshake struct {
	world *simWorld
	in    []byte
	hello []byte
	ended bool
}

func (h *simHandshake) Step(in []byte) (out []byte, done bool, err error) {
	if h.world.odds(3) { // loops go on while a worker computes
		h.world.net.Advance(20 * time.Microsecond)
	}
	h.in = append(h.in, in...)
	for len(h.in) >= 5 {
		n := 5 + int(h.in[3])<<8 + int(h.in[4])
		if n > len(h.in) {
			break
		}
		body := h.in[5:n]
		h.in = h.in[n:]
		out = append(out, simFlight...)
		switch {
		case h.hello != nil:
			return out, true, nil
		case len(body) < simHelloMin || body[0]&simHelloBad != 0:
			return simAlert, false, errSimHello
		}
		h.hello = body
		if body[0]&simHelloLong == 0 {
			return out, true, nil
		}
	}
	return out, false, nil
}

func (h *simHandshake) Finish(s *tlsengine.Session) ([]byte, tls.ConnectionState, error) {
	h.end("finished")
	_, *s = simPair(h.hello)
	return h.in, tls.ConnectionState{Version: s.Version(), CipherSuite: s.Suite()}, nil
}

func (h *simHandshake) Stop() { h.end("stopped") }

func (h *simHandshake) end(how string) {
	if h.ended {
		h.world.wrong("a handshake that has ended was %s", how)
	}
	h.ended = true
	h.world.handshakes--
}
