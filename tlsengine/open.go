package tlsengine

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Open opens one whole record (as [RecordLen] cuts it) in place. plain is a part of rec: the
// application data. plain and err are both nil for a record without any: an empty one, a
// KeyUpdate, a session ticket, a warning. After an error the connection must end, and
// [Session.AppendAlert] has the answer to it: io.EOF is close_notify, *[AlertError] is the peer's
// alert, and a [ProtocolError] is wrapped by everything the peer should not have sent.
func (s *Session) Open(rec []byte) (plain []byte, err error) {
	if s.version == 0 || s.flags&(flagOpenEOF|flagOpenFail) != 0 {
		return nil, s.openEnded()
	}
	plain, typ, err := s.decrypt(rec)
	if err == nil {
		if typ == recordData && len(plain) > 0 && s.handN == 0 && s.handSkip == 0 {
			s.idle = 0
			return plain, nil
		}
		err = s.control(typ, plain)
	}
	if err == io.EOF {
		s.flags |= flagOpenEOF
	} else if err != nil {
		s.flags |= flagOpenFail
	}
	return nil, err
}

// openEnded tells why a session opens nothing any more.
func (s *Session) openEnded() error {
	switch {
	case s.version == 0:
		return ErrNoSession
	case s.flags&flagOpenEOF != 0:
		return io.EOF
	}
	return ErrEnded
}

// decrypt authenticates a record and strips what encryption added.
func (s *Session) decrypt(rec []byte) (plain []byte, typ byte, err error) {
	n, err := RecordLen(rec)
	if err != nil {
		return nil, 0, err
	}
	if n == 0 || n != len(rec) {
		return nil, 0, fmt.Errorf("%w: %d bytes given, the header says %d", ErrDecode, len(rec), n)
	}
	h := &s.open
	if h.seq >= sequenceMax {
		return nil, 0, ErrSequence
	}
	if s.version == v13 {
		plain, typ, err = s.decrypt13(h, rec)
	} else {
		plain, typ, err = s.decrypt12(h, rec)
	}
	if err != nil {
		return nil, 0, err
	}
	if len(plain) > MaxPlaintext {
		return nil, 0, fmt.Errorf("%w: %d bytes of plaintext", ErrOverflow, len(plain))
	}
	h.seq++
	return plain, typ, nil
}

// decrypt13: RFC 8446 5.2 to 5.4. The content type is the last byte that is not zero.
func (s *Session) decrypt13(h *half, rec []byte) (plain []byte, typ byte, err error) {
	if rec[0] != recordData {
		return nil, 0, fmt.Errorf("%w: record type %d after the handshake", ErrUnexpected, rec[0])
	}
	body := rec[recordHeaderLen:]
	plain, err = s.opener().Open(body[:0], s.xorNonce(h), body, rec[:recordHeaderLen])
	if err != nil {
		return nil, 0, fmt.Errorf("%w: number %d", ErrBadRecord, h.seq)
	}
	if len(plain) > MaxPlaintext+1 {
		return nil, 0, fmt.Errorf("%w: %d bytes with padding", ErrOverflow, len(plain))
	}
	if h.seq+1 >= rekeyRecords && s.flags&flagAsked == 0 {
		s.flags |= flagRekey
	}
	for i := len(plain) - 1; i >= 0; i-- {
		if plain[i] != 0 {
			return plain[:i], plain[i], nil
		}
	}
	return nil, 0, fmt.Errorf("%w: record of padding only", ErrUnexpected)
}

// decrypt12: RFC 5246 6.2.3.3, with the nonces of RFC 5288 (AES-GCM) and RFC 7905 (ChaCha20).
func (s *Session) decrypt12(h *half, rec []byte) (plain []byte, typ byte, err error) {
	if rec[0] == recordChangeCipherSpec {
		return nil, 0, fmt.Errorf("%w: change_cipher_spec after the handshake", ErrUnexpected)
	}
	room := s.room()
	n := len(rec) - room - tagLen
	if n < 0 {
		return nil, 0, fmt.Errorf("%w: %d bytes are too few", ErrBadRecord, len(rec))
	}
	aead := s.opener()
	nonce := s.xorNonce(h)
	if s.flags&flagExplicit != 0 {
		copy(nonce[4:], rec[recordHeaderLen:room])
	}
	body := rec[room:]
	plain, err = aead.Open(body[:0], nonce, body, s.aad12(h, rec[0], n))
	if err != nil {
		return nil, 0, fmt.Errorf("%w: number %d", ErrBadRecord, h.seq)
	}
	return plain, rec[0], nil
}

// xorNonce is the nonce of TLS 1.3 and ChaCha20: the sequence number in the fixed IV (RFC 8446
// 5.3). With AES-GCM in TLS 1.2, whose last 8 bytes of IV are zero here, it is the salt and the
// sequence number, which serves as the explicit nonce. The cipher must have been built.
func (s *Session) xorNonce(h *half) []byte {
	nonce := s.scratch[:nonceLen]
	copy(nonce, h.iv[:])
	tail := nonce[nonceLen-8:]
	binary.BigEndian.PutUint64(tail, binary.BigEndian.Uint64(tail)^h.seq)
	return nonce
}

// aad12 is the additional data of TLS 1.2 for n bytes of plaintext (RFC 5246 6.2.3.3).
func (s *Session) aad12(h *half, typ byte, n int) []byte {
	aad := s.scratch[nonceLen:]
	binary.BigEndian.PutUint64(aad, h.seq)
	putHeader(aad[8:], typ, n)
	return aad
}

// control takes a record that brings no application data.
func (s *Session) control(typ byte, b []byte) error {
	if typ != recordHandshake && (s.handN != 0 || s.handSkip != 0) {
		return fmt.Errorf("%w: record type %d within a handshake message", ErrUnexpected, typ)
	}
	switch typ {
	case recordData:
		return s.idleRecord()
	case recordAlert:
		return s.alert(b)
	case recordHandshake:
		return s.postHandshake(b)
	}
	return fmt.Errorf("%w: content type %d", ErrUnexpected, typ)
}

// idleRecord counts a record without application data.
func (s *Session) idleRecord() error {
	s.idle++
	if s.idle > idleRecordsMax {
		return fmt.Errorf("%w: %d in a row", ErrTooManyIdle, s.idle)
	}
	return nil
}
