package packet

import (
	"bytes"
	"encoding/binary"
)

// stretchBytes is how much filler comes from one place of the table. With as many places to begin,
// the table has 32 KiB, which stays in the L1 or L2 cache beside all else.
const stretchBytes = 16 << 10

// table is fixed random bytes; it is only read.
var table = makeTable()

func makeTable() (t [2 * stretchBytes]byte) {
	for i := 0; i < len(t); i += 8 {
		binary.LittleEndian.PutUint64(t[i:], mix(uint64(i)))
	}
	return t
}

// fillerKey is from what the filler of a packet follows.
func fillerKey(s Stamp) uint64 { return mix(mix(uint64(s.Pair)) ^ s.Seq) }

// stretch returns the next n bytes of filler, at most stretchBytes, and the key of those behind.
func stretch(key uint64, n int) (b []byte, next uint64) {
	from := int(key % stretchBytes)
	return table[from : from+min(n, stretchBytes)], mix(key)
}

// fill makes the filler of a packet.
func fill(p []byte, s Stamp) {
	key := fillerKey(s)
	p = p[copy(p, binary.LittleEndian.AppendUint64(make([]byte, 0, 8), key)):]
	for len(p) > 0 {
		var b []byte
		b, key = stretch(key, len(p))
		p = p[copy(p, b):]
	}
}

// isFill tells whether p is what fill makes.
func isFill(p []byte, s Stamp) bool {
	key := fillerKey(s)
	var first [8]byte
	binary.LittleEndian.PutUint64(first[:], key)
	n := min(len(p), len(first))
	if !bytes.Equal(p[:n], first[:n]) {
		return false
	}
	for p = p[n:]; len(p) > 0; {
		var b []byte
		b, key = stretch(key, len(p))
		if !bytes.Equal(p[:len(b)], b) {
			return false
		}
		p = p[len(b):]
	}
	return true
}
