package websock

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// Of a frame's first two bytes (RFC 6455 §5.2).
const (
	bitFinal  = 0x80
	bitsRSV   = 0x70
	bitsOp    = 0x0f
	bitMasked = 0x80
	bitsLen   = 0x7f

	len16 = 126 // a 16-bit length follows
	len64 = 127 // a 64-bit length follows
)

const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa

	bitControl = 0x8 // of an opcode
)

// AppendHeader appends the header of a server's binary message of n bytes, which must follow
// as they are: at most HeaderMax bytes. n should be at most MessageMax.
func AppendHeader(dst []byte, n int) []byte { return appendHeader(dst, opBinary, 0, n) }

// AppendMaskedHeader appends the header of a client's binary message of n bytes, which must
// follow masked with the key, see Mask: at most MaskedHeaderMax bytes.
func AppendMaskedHeader(dst []byte, n int, key [4]byte) []byte {
	return append(appendHeader(dst, opBinary, bitMasked, n), key[:]...)
}

// appendHeader appends all of a final frame's header but the key. The length takes the
// shortest form, as it must.
func appendHeader(dst []byte, op, masked byte, n int) []byte {
	switch {
	case n < len16:
		return append(dst, bitFinal|op, masked|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, bitFinal|op, masked|len16), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, bitFinal|op, masked|len64), uint64(n))
	}
}

// AppendPong appends a server's whole answer to a ping, whose payload it repeats. Next never
// returns one of more than ControlMax bytes; what is beyond is cut off.
func AppendPong(dst, payload []byte) []byte {
	payload = payload[:min(len(payload), ControlMax)]
	return append(appendHeader(dst, opPong, 0, len(payload)), payload...)
}

// AppendClose appends a server's whole close frame. A reason is cut to what fits, at a
// character. A code that must not be sent, like the NoCode of an empty close frame that is
// answered, gives an empty one.
func AppendClose(dst []byte, code Code, reason string) []byte {
	if !code.sendable() {
		return appendHeader(dst, opClose, 0, 0)
	}
	if end := ControlMax - codeLen; len(reason) > end {
		for end > 0 && !utf8.RuneStart(reason[end]) {
			end--
		}
		reason = reason[:end]
	}
	dst = appendHeader(dst, opClose, 0, codeLen+len(reason))
	return append(binary.BigEndian.AppendUint16(dst, uint16(code)), reason...)
}

// headerLen returns the length of the header that b begins, as far as b tells.
func headerLen(b []byte) int {
	if len(b) < 2 {
		return 2
	}
	n := 2
	switch b[1] & bitsLen {
	case len16:
		n += 2
	case len64:
		n += 8
	}
	if b[1]&bitMasked != 0 {
		n += keyLen
	}
	return n
}

// payloadLen returns the length that a whole header tells. A longer form than needed is taken,
// as derper takes it.
func payloadLen(h []byte) uint64 {
	switch n := h[1] & bitsLen; n {
	case len16:
		return uint64(binary.BigEndian.Uint16(h[2:]))
	case len64:
		return binary.BigEndian.Uint64(h[2:])
	default:
		return uint64(n)
	}
}
