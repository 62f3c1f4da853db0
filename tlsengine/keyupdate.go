package tlsengine

import "fmt"

// Post-handshake messages (RFC 8446 4.6; RFC 5246 7.4.1.1).
const (
	msgHelloRequest     byte = 0
	msgNewSessionTicket byte = 4
	msgKeyUpdate        byte = 24
)

// NeedsSend tells whether a KeyUpdate waits to be sent: an answer to the peer's, or our own because
// a key has seen 2^23 records.
func (s *Session) NeedsSend() bool {
	return s.flags&(flagAnswer|flagRekey) != 0 && s.flags&flagSealEnd == 0
}

// AppendControl appends what [Session.NeedsSend] tells about, sealed; the new key is in use from
// then on. The bytes must be sent ahead of anything sealed later.
func (s *Session) AppendControl(dst []byte) []byte {
	if !s.NeedsSend() {
		return dst
	}
	// Our own key rolls with every KeyUpdate; the peer is asked to follow if it has used its key
	// for as long and has not been asked yet (crypto/tls never starts by itself).
	var request byte
	if s.open.seq >= rekeyRecords && s.flags&flagAsked == 0 {
		request = 1
		s.flags |= flagAsked
	}
	start := len(dst)
	dst = append(s.SealStart(dst), msgKeyUpdate, 0, 0, 1, request)
	dst = s.sealRecord(dst, start, recordHandshake)
	s.roll(&s.seal)
	s.flags &^= flagAnswer | flagRekey
	return dst
}

// postHandshake takes the contents of a handshake record. Messages may be split over records, and
// several may share one.
func (s *Session) postHandshake(b []byte) error {
	if len(b) == 0 {
		return fmt.Errorf("%w: empty handshake record", ErrUnexpected)
	}
	if s.version != v13 {
		return s.renegotiation(b)
	}
	whole := 0 // messages that end in this record
	for len(b) > 0 {
		var done bool
		var err error
		if b, done, err = s.message(b); err != nil {
			return err
		}
		if !done {
			continue
		}
		if whole++; whole > 1 { // the first is counted with the record
			if err := s.idleRecord(); err != nil {
				return err
			}
		}
	}
	return s.idleRecord()
}

// message takes bytes of one message from the front of b; done says that the message ended.
func (s *Session) message(b []byte) (rest []byte, done bool, err error) {
	if s.handSkip > 0 {
		n := min(uint32(len(b)), s.handSkip)
		s.handSkip -= n
		return b[n:], s.handSkip == 0, nil
	}
	if s.handN < 4 {
		n := copy(s.hand[s.handN:], b)
		s.handN += uint8(n)
		b = b[n:]
		if s.handN < 4 {
			return b, false, nil
		}
		if err := s.messageHeader(); err != nil || s.handN == 0 || len(b) == 0 {
			return b, false, err
		}
	}
	s.handN = 0
	if len(b) > 1 {
		return nil, false, fmt.Errorf("%w: %d bytes behind a KeyUpdate, sealed with the old key",
			ErrUnexpected, len(b)-1)
	}
	return nil, true, s.keyUpdate(b[0])
}

// messageHeader judges a message by its type and length: handN stays 4 for a KeyUpdate, whose one
// byte follows; a ticket is skipped.
func (s *Session) messageHeader() error {
	n := int(s.hand[1])<<16 | int(s.hand[2])<<8 | int(s.hand[3])
	switch typ := s.hand[0]; {
	case typ == msgKeyUpdate:
		if n != 1 {
			return fmt.Errorf("%w: KeyUpdate of %d bytes", ErrDecode, n)
		}
		return nil
	case typ == msgNewSessionTicket && s.flags&flagClient != 0:
		if n == 0 || n > handshakeMessageBytesMax {
			return fmt.Errorf("%w: NewSessionTicket of %d bytes", ErrDecode, n)
		}
		s.handN, s.handSkip = 0, uint32(n)
		return nil
	default:
		return fmt.Errorf("%w: handshake message type %d, %d bytes", ErrUnexpected, typ, n)
	}
}

// keyUpdate: the peer seals with its next key from now on (RFC 8446 4.6.3).
func (s *Session) keyUpdate(request byte) error {
	if request > 1 {
		return fmt.Errorf("%w: KeyUpdate request %d", ErrIllegal, request)
	}
	if err := s.payKeyUpdate(); err != nil {
		return err
	}
	s.roll(&s.open)
	s.flags &^= flagAsked
	if request == 1 {
		s.flags |= flagAnswer
	}
	return nil
}

// payKeyUpdate sets a KeyUpdate of the peer off against the records of the key that it ends, its
// own among them. Records that are left over pay for earlier ones, never for later ones: nothing
// is saved up, so that a connection that has carried much cannot be used for a flood either.
func (s *Session) payKeyUpdate() error {
	unpaid := uint64(s.unpaid) + 1
	unpaid -= min(unpaid, s.open.seq/recordsPerKeyUpdate)
	if unpaid > unpaidKeyUpdatesMax {
		return fmt.Errorf("%w: the last key has opened %d records", ErrTooManyKeyUpdates, s.open.seq)
	}
	s.unpaid = uint8(unpaid)
	return nil
}

// renegotiation refuses what a handshake message means in TLS 1.2.
func (s *Session) renegotiation(b []byte) error {
	if b[0] == msgHelloRequest && s.flags&flagClient != 0 {
		return ErrRenegotiation
	}
	return fmt.Errorf("%w: handshake message type %d after the handshake", ErrUnexpected, b[0])
}
