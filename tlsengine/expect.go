package tlsengine

import (
	"crypto/cipher"
	"unsafe"

	"derpd/internal/prefetch"
)

// aeadLines are the cache lines of an AEAD: AES-GCM's key schedules and table are 760 bytes.
const aeadLines = 12

// ExpectOpen has the processor fetch what [Session.Open] needs, and does not wait for it. Called a
// little earlier, it makes the first record of a session that was not in use just now cheaper.
func (s *Session) ExpectOpen() {
	if s.openAEAD != nil {
		expect(&s.openAEAD)
	}
}

// ExpectSeal is the same for [Session.SealFinish].
func (s *Session) ExpectSeal() {
	if s.sealAEAD != nil {
		expect(&s.sealAEAD)
	}
}

// expect fetches an AEAD, which is the data behind an interface: its second word.
func expect(a *cipher.AEAD) {
	prefetch.Lines((*[2]unsafe.Pointer)(unsafe.Pointer(a))[1], aeadLines)
}
