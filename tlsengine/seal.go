package tlsengine

import "fmt"

// SealStart appends room for what stands in front of a record's plaintext: 5 bytes, or 13 in TLS
// 1.2 with AES-GCM. The caller appends the plaintext and calls [Session.SealFinish]. dst may hold
// other records already.
func (s *Session) SealStart(dst []byte) []byte {
	var room [recordHeaderLen + 8]byte
	return append(dst, room[:s.room()]...)
}

// SealFinish makes one record of dst[start:], which is the room of [Session.SealStart] and 1 to
// [MaxPlaintext] bytes of plaintext: it seals in place, appends type and tag, and writes the
// header. With Overhead spare bytes in dst nothing is allocated. Without plaintext, and after
// AppendClose or AppendAlert, there is no record: dst is returned cut back to start. It panics on
// more than MaxPlaintext bytes and, where there is plaintext, on no session.
func (s *Session) SealFinish(dst []byte, start int) []byte {
	if len(dst)-start == s.room() || s.flags&flagSealEnd != 0 {
		return dst[:start]
	}
	return s.sealRecord(dst, start, recordData)
}

// sealRecord is SealFinish for any content type.
func (s *Session) sealRecord(dst []byte, start int, typ byte) []byte {
	h := &s.seal
	room := s.room()
	n := len(dst) - start - room
	switch {
	case s.version == 0:
		panic(ErrNoSession)
	case n < 0 || n > MaxPlaintext:
		panic(fmt.Sprintf("tlsengine: plaintext of %d bytes, want 0 to %d after SealStart's room",
			n, MaxPlaintext))
	case h.seq >= sequenceMax:
		panic(ErrSequence)
	}
	aead := s.sealer()
	body := start + room
	nonce := s.xorNonce(h)
	if s.version == v13 {
		dst = append(dst, typ)
		header := dst[start:body]
		putHeader(header, recordData, n+1+tagLen)
		dst = aead.Seal(dst[:body], nonce, dst[body:], header)
		if h.seq+1 >= rekeyRecords {
			s.flags |= flagRekey
		}
	} else {
		header := dst[start:body]
		putHeader(header, typ, room-recordHeaderLen+n+tagLen)
		copy(header[recordHeaderLen:], nonce[4:]) // nothing, or the explicit nonce
		dst = aead.Seal(dst[:body], nonce, dst[body:], s.aad12(h, typ, n))
	}
	h.seq++
	return dst
}
