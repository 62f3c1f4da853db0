package interop

import (
	"crypto/tls"
	"testing"

	"derpd/interop/harness"

	"tailscale.com/types/key"
)

func TestTLSVersionsAndSuites(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{TLS: true})
	other := r.Login(t)
	exchange := func(t *testing.T, config *tls.Config) tls.ConnectionState {
		t.Helper()
		c := tls.Client(r.DialTCP(t), config)
		p := harness.LoginOver(t, c, key.NewNode())
		large := make([]byte, 60_000)
		other.SendTo(t, p.Key, large)
		p.WantPacket(t, other.Key, large)
		p.SendTo(t, other.Key, large)
		other.WantPacket(t, p.Key, large)
		p.Close()
		return c.ConnectionState()
	}
	for _, suite := range []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	} {
		t.Run("1.2 "+tls.CipherSuiteName(suite), func(t *testing.T) {
			config := r.TLSConfig()
			config.MaxVersion = tls.VersionTLS12
			config.CipherSuites = []uint16{suite}
			if got := exchange(t, config).CipherSuite; got != suite {
				t.Errorf("negotiated %s", tls.CipherSuiteName(got))
			}
			other.Next(t) // PeerGone
		})
	}
	for _, curve := range []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256} {
		t.Run("1.3 "+curve.String(), func(t *testing.T) {
			config := r.TLSConfig()
			config.MinVersion = tls.VersionTLS13
			config.CurvePreferences = []tls.CurveID{curve}
			if got := exchange(t, config).CurveID; got != curve {
				t.Errorf("negotiated %s", got)
			}
			other.Next(t) // PeerGone
		})
	}
}

// A client that resumes sessions may try; what counts is that it is served.
func TestTLSSessionCache(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{TLS: true})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := r.TLSConfig()
		config.MaxVersion = version
		config.ClientSessionCache = tls.NewLRUClientSessionCache(10)
		for range 3 {
			p := harness.LoginOver(t, tls.Client(r.DialTCP(t), config), key.NewNode())
			p.Ping(t)
			p.Close()
		}
	}
}

// DERP switches protocols inside HTTP/1.1, so that is what gets chosen.
func TestALPN(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{TLS: true})
	for _, offer := range [][]string{nil, {"http/1.1"}, {"h2", "http/1.1"}} {
		config := r.TLSConfig()
		config.NextProtos = offer
		c := tls.Client(r.DialTCP(t), config)
		p := harness.LoginOver(t, c, key.NewNode())
		p.Ping(t)
		if got := c.ConnectionState().NegotiatedProtocol; got != "http/1.1" && offer != nil {
			t.Errorf("offered %q, chosen %q", offer, got)
		}
	}
}

func TestTLSTooOldOrWrongName(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{TLS: true})
	check := bystander(t, r)
	old := r.TLSConfig()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if err := tls.Client(r.DialTCP(t), old).Handshake(); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	wrong := r.TLSConfig()
	wrong.ServerName = "other.interop.test"
	if err := tls.Client(r.DialTCP(t), wrong).Handshake(); err == nil {
		t.Error("a certificate was served for another name")
	}
	check()
}
