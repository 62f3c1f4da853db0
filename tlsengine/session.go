package tlsengine

import (
	"crypto/cipher"
	"crypto/tls"
)

// A Session is one established TLS connection: two directions of keys and sequence numbers, and the
// little state that post-handshake messages need. It is plain data: no socket, no closure, no
// goroutine. The zero value is no session; [Handshake.Finish] and [NewPair] make one. Do not use it
// from two goroutines at once, nor from two copies.
type Session struct {
	open half // what the peer seals
	seal half // what we seal

	// The ciphers of both directions, only while they are in use; nil: not built, or dropped. They
	// lie here, not behind a pointer of their own, since that would be one more to wait for.
	openAEAD, sealAEAD cipher.AEAD

	flags    flags
	version  uint16
	suite    uint16
	handSkip uint32  // bytes of a post-handshake message still to be ignored
	hand     [4]byte // header of a post-handshake message that is not whole yet …
	handN    uint8   // … and how much of it is there; 4: a KeyUpdate that lacks its value
	idle     uint8   // records without application data in a row
	unpaid   uint8   // the peer's KeyUpdates that came sooner than their number allows

	// scratch is nonce (12 bytes) and additional data (13) of the record at hand. Arguments of an
	// interface method escape; lying here they do not cost an allocation a record.
	scratch [nonceLen + aadLen12]byte
}

// half is one direction.
type half struct {
	seq    uint64          // of the next record
	secret [secretMax]byte // TLS 1.3: traffic secret, and the key if it fits. TLS 1.2: the key
	iv     [nonceLen]byte  // TLS 1.2 AES-GCM: only the first 4 bytes
}

const (
	nonceLen  = 12 // of every AEAD of TLS
	tagLen    = 16 // likewise
	aadLen12  = 13 // additional data in TLS 1.2: seq, type, version, length
	secretMax = 48 // SHA-384
)

type flags uint8

const (
	flagClient   flags = 1 << iota // we are the client: tickets may come
	flagExplicit                   // records carry 8 bytes of nonce (TLS 1.2 AES-GCM)
	flagAnswer                     // the peer asked for a KeyUpdate
	flagRekey                      // a KeyUpdate of our own is due
	flagAsked                      // we asked the peer for one and it has not come
	flagOpenEOF                    // close_notify came
	flagOpenFail                   // Open failed
	flagSealEnd                    // close_notify or a fatal alert was sealed
)

// Version returns tls.VersionTLS13, tls.VersionTLS12, or 0 for no session.
func (s *Session) Version() uint16 { return s.version }

// Suite returns the cipher suite (a TLS_… constant of crypto/tls), 0 for no session.
func (s *Session) Suite() uint16 { return s.suite }

// Overhead returns how many bytes a record adds to its plaintext: header, explicit nonce, content
// type and tag. It is 22 in TLS 1.3; 29 or 21 in TLS 1.2.
func (s *Session) Overhead() int {
	if s.version == tls.VersionTLS13 {
		return recordHeaderLen + 1 + tagLen
	}
	return s.room() + tagLen
}

// room is the number of bytes in front of the plaintext.
func (s *Session) room() int {
	if s.flags&flagExplicit != 0 {
		return recordHeaderLen + 8
	}
	return recordHeaderLen
}

// DropCiphers forgets the AEAD key schedules of both directions (1.5 KB with AES-GCM), as an
// idle connection should. They are built again on next use, for 0.6 µs a direction with
// AES-128-GCM, and for 2 µs with other suites, whose keys have to be derived once more.
func (s *Session) DropCiphers() { s.openAEAD, s.sealAEAD = nil, nil }

// Wipe zeroes all secrets and leaves no session. Key schedules of AEADs, which crypto/aes gives no
// way to overwrite, are left to the collector.
func (s *Session) Wipe() { *s = Session{} }
