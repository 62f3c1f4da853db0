package websock

import (
	"encoding/binary"
	"math/bits"
)

// Mask masks b in place, or unmasks it, which is the same (RFC 6455 §5.3). b begins pos
// bytes into the frame's payload.
func Mask(b []byte, key [4]byte, pos int) {
	mask(b, turn(binary.LittleEndian.Uint32(key[:]), pos))
}

// turn returns the key that applies n bytes further on.
func turn(key uint32, n int) uint32 { return bits.RotateLeft32(key, -8*(n&3)) }

// mask masks b, whose first byte meets the key's lowest: 32 bytes at a time, 8, and the rest.
func mask(b []byte, key uint32) {
	le := binary.LittleEndian
	wide := uint64(key)<<32 | uint64(key)
	for len(b) >= 32 {
		p := b[:32]
		le.PutUint64(p, le.Uint64(p)^wide)
		le.PutUint64(p[8:], le.Uint64(p[8:])^wide)
		le.PutUint64(p[16:], le.Uint64(p[16:])^wide)
		le.PutUint64(p[24:], le.Uint64(p[24:])^wide)
		b = b[32:]
	}
	for len(b) >= 8 {
		le.PutUint64(b, le.Uint64(b)^wide)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(wide)
		wide >>= 8
	}
}
