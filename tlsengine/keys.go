package tlsengine

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// ErrFIPS: in a process that enforces FIPS 140-3, crypto/cipher makes no AES-GCM whose nonces the
// caller chooses, so there can be no session of ours.
var ErrFIPS = errors.New("tlsengine: cannot run under GODEBUG=fips140=only: " +
	"its record layer chooses AES-GCM nonces itself; use fips140=on or off")

func fipsError() error {
	if fips140.Enforced() {
		return ErrFIPS
	}
	return nil
}

// suite is a cipher suite of a version.
type suite struct {
	id      uint16
	version uint16
	keyLen  int
	ivLen   int // of the fixed part: 12, or 4 in TLS 1.2 AES-GCM
	hash    func() hash.Hash
	hashLen int
	aead    func(key []byte) (cipher.AEAD, error)
}

const (
	v12 = tls.VersionTLS12
	v13 = tls.VersionTLS13
)

// suites are all suites a session can have: those of TLS 1.3, and of TLS 1.2 the ones with ECDHE
// and an AEAD.
var suites = [...]suite{
	{tls.TLS_AES_128_GCM_SHA256, v13, 16, 12, sha256.New, 32, newGCM},
	{tls.TLS_AES_256_GCM_SHA384, v13, 32, 12, sha512.New384, 48, newGCM},
	{tls.TLS_CHACHA20_POLY1305_SHA256, v13, 32, 12, sha256.New, 32, chacha20poly1305.New},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, v12, 16, 4, sha256.New, 32, newGCM},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, v12, 16, 4, sha256.New, 32, newGCM},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, v12, 32, 4, sha512.New384, 48, newGCM},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, v12, 32, 4, sha512.New384, 48, newGCM},
	{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, v12, 32, 12, sha256.New, 32,
		chacha20poly1305.New},
	{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, v12, 32, 12, sha256.New, 32,
		chacha20poly1305.New},
}

// suites12 are the ids of the TLS 1.2 suites, for tls.Config.CipherSuites.
func suites12() []uint16 {
	var ids []uint16
	for i := range suites {
		if suites[i].version == v12 {
			ids = append(ids, suites[i].id)
		}
	}
	return ids
}

func suiteOf(version, id uint16) (*suite, error) {
	for i := range suites {
		if suites[i].id == id && suites[i].version == version {
			return &suites[i], nil
		}
	}
	return nil, fmt.Errorf("tlsengine: no cipher suite %#04x in version %#04x", id, version)
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// init makes s a fresh session of su; the caller then sets both halves.
func (s *Session) init(su *suite, client bool) {
	*s = Session{version: su.version, suite: su.id}
	if client {
		s.flags |= flagClient
	}
	if su.ivLen == 4 {
		s.flags |= flagExplicit
	}
}

// sides returns the halves by who seals them.
func (s *Session) sides() (client, server *half) {
	if s.flags&flagClient != 0 {
		return &s.seal, &s.open
	}
	return &s.open, &s.seal
}

// opener returns the cipher of what the peer seals, sealer that of what we seal. Both are small
// enough to be inlined.
func (s *Session) opener() cipher.AEAD {
	if s.openAEAD == nil {
		s.openAEAD = s.build(&s.open)
	}
	return s.openAEAD
}

func (s *Session) sealer() cipher.AEAD {
	if s.sealAEAD == nil {
		s.sealAEAD = s.build(&s.seal)
	}
	return s.sealAEAD
}

// build makes the AEAD of a direction from its secret. The table of suites, and the check that no
// session is made under fips140=only, leave no way for it to fail.
func (s *Session) build(h *half) cipher.AEAD {
	su, err := suiteOf(s.version, s.suite)
	if err != nil {
		panic(err)
	}
	key, kept := h.key(su)
	if !kept {
		defer clear(key)
	}
	a, err := su.aead(key)
	if err != nil {
		panic("tlsengine: cannot build a cipher from valid keys: " + err.Error())
	}
	return a
}

// keepsKey tells whether the key of TLS 1.3 fits behind the secret that it is derived from. It does
// with AES-128-GCM, which nearly every client speaks: a cipher that was dropped is then built
// without HKDF, which would be two thirds of the time and a third of the garbage.
func (su *suite) keepsKey() bool { return su.hashLen+su.keyLen <= secretMax }

// key returns the key of a direction's cipher; kept says that it is the half's own, not to be
// wiped.
func (h *half) key(su *suite) (key []byte, kept bool) {
	switch {
	case su.version != v13:
		return h.secret[:su.keyLen], true
	case su.keepsKey():
		return h.secret[su.hashLen:][:su.keyLen], true
	}
	return expandLabel(su, h.secret[:su.hashLen], "key", su.keyLen), false
}

// setTraffic starts a direction of TLS 1.3 with a traffic secret (RFC 8446 7.3).
func (h *half) setTraffic(su *suite, secret []byte) {
	h.seq = 0
	copy(h.secret[:], secret)
	iv := expandLabel(su, secret, "iv", nonceLen)
	copy(h.iv[:], iv)
	clear(iv)
	if su.keepsKey() {
		key := expandLabel(su, secret, "key", su.keyLen)
		copy(h.secret[su.hashLen:], key)
		clear(key)
	}
}

// roll replaces a direction's traffic secret by the next (RFC 8446 7.2).
func (s *Session) roll(h *half) {
	su, err := suiteOf(s.version, s.suite)
	if err != nil {
		panic(err)
	}
	next := expandLabel(su, h.secret[:su.hashLen], "traffic upd", su.hashLen)
	h.setTraffic(su, next)
	if h == &s.open {
		s.openAEAD = nil
	} else {
		s.sealAEAD = nil
	}
	clear(next)
}

// expandLabel is HKDF-Expand-Label with an empty context (RFC 8446 7.1).
func expandLabel(su *suite, secret []byte, label string, n int) []byte {
	const prefix = "tls13 "
	info := string([]byte{byte(n >> 8), byte(n), byte(len(prefix) + len(label))}) +
		prefix + label + "\x00"
	out, err := hkdf.Expand(su.hash, secret, info, n)
	if err != nil {
		panic("tlsengine: HKDF of fixed lengths failed: " + err.Error())
	}
	return out
}

// setMaster fills both directions of TLS 1.2 from the master secret (RFC 5246 6.3); seq 0 of each
// was the Finished message.
func (s *Session) setMaster(su *suite, master, clientRandom, serverRandom []byte) {
	seed := make([]byte, 0, len("key expansion")+64)
	seed = append(append(append(seed, "key expansion"...), serverRandom...), clientRandom...)
	block := expandMaster(su.hash, master, seed, 2*su.keyLen+2*su.ivLen)
	defer clear(block)

	client, server := s.sides()
	rest := block
	for _, part := range []struct {
		dst []byte
		n   int
	}{
		{client.secret[:], su.keyLen}, {server.secret[:], su.keyLen},
		{client.iv[:], su.ivLen}, {server.iv[:], su.ivLen},
	} {
		copy(part.dst, rest[:part.n])
		rest = rest[part.n:]
	}
	client.seq, server.seq = 1, 1
}

// expandMaster is P_hash (RFC 5246 5): HMAC(secret, A(i) || seed), with A(0) = seed and
// A(i) = HMAC(secret, A(i-1)).
func expandMaster(h func() hash.Hash, secret, seed []byte, n int) []byte {
	mac := hmac.New(h, secret)
	out := make([]byte, 0, n+mac.Size())
	a := seed
	for len(out) < n {
		mac.Reset()
		mac.Write(a)
		a = mac.Sum(nil)
		mac.Reset()
		mac.Write(a)
		mac.Write(seed)
		out = mac.Sum(out)
	}
	return out[:n]
}
