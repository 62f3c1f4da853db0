package tlsengine

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/tls"
	"encoding/binary"
	"fmt"
)

// A Skimmer reads parts of records without authenticating them, at the price of the AES blocks that
// it looks at: AES-GCM is counter mode (NIST SP 800-38D), so that any 16 bytes of a record can be
// decrypted alone.
//
// It is for a load generator, and for nothing else: one that measures a relay must look at the head
// of each frame, has no secret to lose, and checks what it reads by means of its own. Whoever
// changes a record on the way changes the bits that a Skimmer yields as he likes, and nobody
// notices. Never act on them: what a program believes, stores or passes on has to come from
// [Session.Open].
//
// A Skimmer belongs to the goroutine of its session. It is about 100 bytes and an AES key schedule
// of 0.5 KB; a session needs none until its next record, so that it may be dropped and made again
// (for 2 µs at most) like [Session.DropCiphers] does with the session's own. It keeps the
// record that it is given, unchanged, until Done.
type Skimmer struct {
	block cipher.Block
	body  []byte // ciphertext of the record's data, without padding, content type and tag
	iv    [nonceLen]byte
	// Arguments of an interface method escape; lying here they cost no allocation a block.
	counter [aes.BlockSize]byte // nonce and block counter
	key     [aes.BlockSize]byte // key stream of a block
	keyOf   int                 // which block of the record that is, or none
}

// noBlock is the keyOf of no block.
const noBlock = -1

// Skimmer returns ok=false for suites other than AES-GCM, and for no session: use Open there.
func (s *Session) Skimmer() (k Skimmer, ok bool) {
	su, err := suiteOf(s.version, s.suite)
	if err != nil || !su.isGCM() {
		return Skimmer{}, false
	}
	key, kept := s.open.key(su)
	if !kept {
		defer clear(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("tlsengine: cannot build a cipher from valid keys: " + err.Error())
	}
	return Skimmer{block: block, iv: s.open.iv, keyOf: noBlock}, true
}

func (su *suite) isGCM() bool {
	switch su.id {
	case tls.TLS_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:
		return false
	}
	return true
}

// Record begins a record (whole, as [RecordLen] cuts it), which must be the next of the session
// that made the Skimmer: n is how many bytes of plaintext it has, and data tells whether they are
// application data, of which there is at least one byte. Then call At as often as needed, and then
// Done. In place of Done, [Session.Open] may open the record, which authenticates it: a sample of
// records can be opened whole.
//
// If it is not data (n is 0), give the record to Open, which handles it or tells what is wrong with
// it. A KeyUpdate that Open has handled is noticed by the next Record: a new Skimmer is not needed,
// and does no harm.
//
// The error is the one that Open has for a record of wrong length, or for a session that has ended.
func (k *Skimmer) Record(s *Session, rec []byte) (n int, data bool, err error) {
	k.body, k.keyOf = nil, noBlock
	if s.version == 0 || s.flags&(flagOpenEOF|flagOpenFail) != 0 {
		return 0, false, s.openEnded()
	}
	whole, err := RecordLen(rec)
	if err == nil && (whole == 0 || whole != len(rec)) {
		err = fmt.Errorf("%w: %d bytes given, the header says %d", ErrDecode, len(rec), whole)
	}
	if err != nil {
		s.flags |= flagOpenFail
		return 0, false, err
	}
	room := s.room()
	end := len(rec) - tagLen
	if rec[0] != recordData || end <= room || s.handN != 0 || s.handSkip != 0 ||
		s.open.seq >= sequenceMax {
		return 0, false, nil
	}
	if k.iv != s.open.iv { // the peer has sealed with its next key since
		*k, _ = s.Skimmer()
	}
	k.setNonce(s, rec)
	k.body = rec[room:end]
	most := MaxPlaintext
	if s.version == v13 {
		most++ // the content type, within which padding has to fit
	}
	if len(k.body) > most {
		k.body = nil
	} else if s.version == v13 {
		k.stripPadding()
	}
	return len(k.body), len(k.body) > 0, nil
}

// setNonce makes the counter that of the record, as xorNonce and decrypt12 do.
func (k *Skimmer) setNonce(s *Session, rec []byte) {
	copy(k.counter[:], s.open.iv[:])
	tail := k.counter[nonceLen-8 : nonceLen]
	if s.flags&flagExplicit != 0 {
		copy(tail, rec[recordHeaderLen:])
		return
	}
	binary.BigEndian.PutUint64(tail, binary.BigEndian.Uint64(tail)^s.open.seq)
}

// stripPadding cuts body before the content type, which is the last byte that is not zero (RFC 8446
// 5.4), and to nothing if that is not application data. Almost always one block is enough.
func (k *Skimmer) stripPadding() {
	for end := len(k.body); end > 0; {
		start := (end - 1) &^ (aes.BlockSize - 1)
		k.load(start / aes.BlockSize)
		for end--; end >= start; end-- {
			switch k.body[end] ^ k.key[end-start] {
			case 0:
				continue
			case recordData:
				k.body = k.body[:end]
				return
			}
			k.body = nil
			return
		}
		end = start
	}
	k.body = nil
}

// At decrypts the len(dst) bytes at plaintext offset off of the record begun last into dst; the
// record is not changed. It panics beyond the n bytes that Record has told.
func (k *Skimmer) At(dst []byte, off int) {
	src := k.body[off : off+len(dst) : len(k.body)]
	block := off / aes.BlockSize
	for from := off % aes.BlockSize; len(src) > 0; from = 0 {
		k.load(block)
		block++
		if from == 0 && len(src) >= aes.BlockSize {
			for i := 0; i < aes.BlockSize; i += 8 {
				binary.LittleEndian.PutUint64(dst[i:],
					binary.LittleEndian.Uint64(src[i:])^binary.LittleEndian.Uint64(k.key[i:]))
			}
			dst, src = dst[aes.BlockSize:], src[aes.BlockSize:]
			continue
		}
		n := min(len(src), aes.BlockSize-from)
		for i := range n {
			dst[i] = src[i] ^ k.key[from+i]
		}
		dst, src = dst[n:], src[n:]
	}
}

// load makes the key stream of a block. GCM spends counter 1 on the tag; the data begins with 2.
func (k *Skimmer) load(block int) {
	if k.keyOf == block {
		return
	}
	binary.BigEndian.PutUint32(k.counter[nonceLen:], uint32(block)+2)
	k.block.Encrypt(k.key[:], k.counter[:])
	k.keyOf = block
}

// Done counts the record as opened: the session goes on to the next one. Like Open, it lets a
// KeyUpdate become due after 2^23 records of a key ([Session.NeedsSend]). Call it once, after a
// Record that said data; it forgets the record.
func (k *Skimmer) Done(s *Session) {
	h := &s.open
	if s.version == v13 && h.seq+1 >= rekeyRecords && s.flags&flagAsked == 0 {
		s.flags |= flagRekey
	}
	h.seq++
	s.idle = 0
	k.body, k.keyOf = nil, noBlock
}
