package tlsengine

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The exported form of a session, all integers big-endian:
//
//	4  magic "dTS" and the format number
//	2  version     2  suite     1  flags     1  idle
//	1  handN       4  hand      4  handSkip
//	then for each direction, first the one that is opened:
//	8  seq         n  secret (TLS 1.3: hash length; 1.2: key length)     TLS 1.2 only: iv
//
// Ciphers are not exported; they are built again on first use. A record that was received in part
// is the caller's to carry over.
const (
	exportMagic     = "dTS"
	exportFormat    = 1
	exportHeaderLen = 4 + 2 + 2 + 1 + 1 + 1 + 4 + 4
)

// ErrImport: the bytes given to UnmarshalBinary are no exported session, or one of another format.
var ErrImport = errors.New("tlsengine: not an exported session")

// MarshalBinary exports the session, secrets included, in mid-stream. Whoever exports must not use
// the session afterwards, or must never import: two live copies would seal with one nonce twice.
func (s *Session) MarshalBinary() ([]byte, error) {
	if s.version == 0 {
		return nil, ErrNoSession
	}
	su, err := suiteOf(s.version, s.suite)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, su.exportLen())
	b = append(append(b, exportMagic...), exportFormat)
	b = binary.BigEndian.AppendUint16(b, s.version)
	b = binary.BigEndian.AppendUint16(b, s.suite)
	b = append(b, byte(s.flags), s.idle, s.handN)
	b = append(b, s.hand[:]...)
	b = binary.BigEndian.AppendUint32(b, s.handSkip)
	for _, h := range []*half{&s.open, &s.seal} {
		b = binary.BigEndian.AppendUint64(b, h.seq)
		b = append(b, h.secret[:su.secretLen()]...)
		if su.version == v12 {
			b = append(b, h.iv[:su.ivLen]...)
		}
	}
	return b, nil
}

func (su *suite) exportLen() int {
	n := 8 + su.secretLen()
	if su.version == v12 {
		n += su.ivLen
	}
	return exportHeaderLen + 2*n
}

// UnmarshalBinary imports a session that MarshalBinary exported. It leaves s alone on an error,
// which wraps [ErrImport], or is [ErrFIPS].
func (s *Session) UnmarshalBinary(b []byte) error {
	if err := fipsError(); err != nil {
		return err
	}
	if len(b) < exportHeaderLen || string(b[:3]) != exportMagic {
		return fmt.Errorf("%w: %d bytes without the magic", ErrImport, len(b))
	}
	if b[3] != exportFormat {
		return fmt.Errorf("%w: format %d, this program knows %d", ErrImport, b[3], exportFormat)
	}
	su, err := suiteOf(binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:]))
	if err != nil {
		return fmt.Errorf("%w: %v", ErrImport, err)
	}
	if len(b) != su.exportLen() {
		return fmt.Errorf("%w: %d bytes, want %d", ErrImport, len(b), su.exportLen())
	}

	n := Session{
		version: su.version, suite: su.id,
		flags: flags(b[8]), idle: b[9], handN: b[10],
		handSkip: binary.BigEndian.Uint32(b[15:]),
	}
	copy(n.hand[:], b[11:15])
	rest := b[exportHeaderLen:]
	for _, h := range []*half{&n.open, &n.seal} {
		secret := rest[8 : 8+su.secretLen()]
		if su.version == v13 {
			h.setTraffic(su, secret)
			h.seq = binary.BigEndian.Uint64(rest)
			rest = rest[8+len(secret):]
			continue
		}
		h.seq = binary.BigEndian.Uint64(rest)
		copy(h.secret[:], secret)
		rest = rest[8+len(secret):]
		copy(h.iv[:], rest[:su.ivLen])
		rest = rest[su.ivLen:]
	}
	if err := n.check(su); err != nil {
		n.Wipe()
		return err
	}
	*s = n
	return nil
}

// check refuses states that no session of ours can be in.
func (s *Session) check(su *suite) error {
	bad := ""
	header := binary.BigEndian.Uint32(s.hand[:])
	switch is13 := su.version == v13; {
	case (s.flags&flagExplicit != 0) != (su.ivLen == 4):
		bad = "explicit nonce does not fit the suite"
	case !is13 && (s.flags&(flagAnswer|flagRekey|flagAsked) != 0 || s.handN != 0 || s.handSkip != 0):
		bad = "post-handshake state in TLS 1.2"
	case s.handN > 4 || s.handN == 4 && header != uint32(msgKeyUpdate)<<24|1:
		bad = "impossible message header"
	case s.handSkip > handshakeMessageBytesMax ||
		s.handSkip > 0 && (s.handN != 0 || s.flags&flagClient == 0):
		bad = "impossible message to skip"
	case s.idle > idleRecordsMax && s.flags&flagOpenFail == 0:
		bad = "too many idle records"
	case s.open.seq > sequenceMax || s.seal.seq > sequenceMax:
		bad = "sequence number out of range"
	default:
		return nil
	}
	return fmt.Errorf("%w: %s", ErrImport, bad)
}
