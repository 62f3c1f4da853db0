package tlsengine

import (
	"crypto/hkdf"
	"errors"
)

// NewPair returns the two ends of a session whose keys derive from secret alone, without a
// handshake: for simulations and load generators, where both ends know the secret. version and
// suite are those of crypto/tls (tls.VersionTLS13 with one of its three suites, or tls.VersionTLS12
// with one of the six with ECDHE and an AEAD); secret has 16 bytes or more. A secret must not be
// used for two pairs that carry anything worth hiding.
func NewPair(version, suite uint16, secret []byte) (client, server Session, err error) {
	if err := fipsError(); err != nil {
		return Session{}, Session{}, err
	}
	su, err := suiteOf(version, suite)
	if err != nil {
		return Session{}, Session{}, err
	}
	if len(secret) < 16 {
		return Session{}, Session{}, errors.New("tlsengine: secret of a pair is under 16 bytes")
	}
	derive := func(label string) []byte {
		b, err := hkdf.Key(su.hash, secret, nil, "derpd pair "+label, su.hashLen)
		if err != nil {
			panic("tlsengine: HKDF of fixed lengths failed: " + err.Error())
		}
		return b
	}
	c2s, s2c := derive("client"), derive("server")
	for _, end := range []struct {
		s      *Session
		client bool
	}{{&client, true}, {&server, false}} {
		end.s.init(su, end.client)
		if su.version == v12 {
			end.s.setMaster(su, c2s, c2s, s2c) // any seed does: both ends use the same
			continue
		}
		fromClient, fromServer := end.s.sides()
		fromClient.setTraffic(su, c2s)
		fromServer.setTraffic(su, s2c)
	}
	clear(c2s)
	clear(s2c)
	return client, server, nil
}
