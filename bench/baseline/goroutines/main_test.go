package main

import (
	"crypto/tls"
	"testing"

	"derpd/bench/baseline/loadtest"
	"derpd/loadgen"
	"derpd/relay/derp"
)

func TestMain(m *testing.M) { loadtest.Main(m, main) }

func TestPairs(t *testing.T) {
	for _, tc := range []struct {
		name  string
		plain bool
		fast  string
	}{{"TLS, fast start", false, "auto"}, {"TLS, upgrade", false, "off"}, {"plain", true, "auto"}} {
		t.Run(tc.name, func(t *testing.T) {
			loadtest.Pairs(t, loadtest.Relay(t, tc.plain), loadgen.Options{FastLog: tc.fast})
		})
	}
}

func TestReceiverThatDoesNotRead(t *testing.T) {
	loadtest.Frozen(t, loadtest.Relay(t, false))
}

func TestRules(t *testing.T) { loadtest.Rules(t, loadtest.Relay(t, true)) }

// Without the relay's key in the handshake every client would wait for the greeting.
func TestShowsItsKeyInTheHandshake(t *testing.T) {
	target := loadtest.Relay(t, false)
	conn, err := tls.Dial("tcp", target.Addr.String(),
		&tls.Config{ServerName: target.Host, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	chain := conn.ConnectionState().PeerCertificates
	key, version, ok := derp.KeyFromMetaCert(chain[len(chain)-1])
	if !ok || key.IsZero() || version != derp.ProtocolVersion {
		t.Errorf("the last of %d certificates tells key %v, version %d, %v", len(chain), key, version, ok)
	}
}
