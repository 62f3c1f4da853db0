package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// Stamp is what a packet says about itself.
type Stamp struct {
	Pair  uint32 // sender and receiver, by the caller's numbers
	Seq   uint64 // number in the pair and class
	Due   int64  // when it was due, ns, by the caller's clock
	Disco bool   // looks like path discovery
}

const (
	// HeadBytes is how many leading bytes of a packet Parse needs at most.
	HeadBytes = MinDiscoBytes
	// MinBytes is the smallest packet that looks like WireGuard data: a keepalive, which is a
	// header of 16 bytes and a tag of 16.
	MinBytes = 32
	// MinDiscoBytes is the smallest that looks like disco to a relay.
	MinDiscoBytes = discoNonce + 24

	wireGuardData = 4                  // message type, WireGuard's "transport data"
	wireGuardHead = 28                 // bytes in front of the filler
	discoMagic    = "TS\U0001f4ac"     // 6 bytes
	discoNonce    = discoKey + 32      // offset
	discoKey      = len(discoMagic)    // offset
	discoFields   = discoNonce + 4 + 8 // offset of due
)

// Min is the smallest size of a packet of that class.
func Min(disco bool) int {
	if disco {
		return MinDiscoBytes
	}
	return MinBytes
}

// Append appends a whole packet of size bytes, at least Min of its class; it panics for less.
func Append(dst []byte, s Stamp, size int) []byte {
	if size < Min(s.Disco) {
		panic(fmt.Sprintf("packet: %d bytes asked for, a stamp needs %d", size, Min(s.Disco)))
	}
	start := len(dst)
	dst = slices.Grow(dst, size)[:start+size]
	p := dst[start:]
	var buf [HeadBytes]byte
	n := copy(p, makeHead(&buf, s, size))
	fill(p[n:], s)
	return dst
}

// Parse reads the stamp of a packet of size bytes from its beginning: its first HeadBytes bytes, or
// all if it has fewer; more do not matter. False means that it is not ours or damaged in its head.
func Parse(head []byte, size int) (Stamp, bool) {
	if size < MinBytes || len(head) < min(size, HeadBytes) {
		return Stamp{}, false
	}
	s := Stamp{Disco: string(head[:len(discoMagic)]) == discoMagic}
	fields := head[4:]
	if s.Disco {
		if size < MinDiscoBytes {
			return Stamp{}, false
		}
		fields = head[discoNonce:]
	}
	s.Pair = binary.LittleEndian.Uint32(fields)
	s.Seq = binary.LittleEndian.Uint64(fields[4:])
	s.Due = int64(binary.LittleEndian.Uint64(fields[12:]))
	// Type or key, and the check: it is cheapest to make it all again.
	var buf [HeadBytes]byte
	want := makeHead(&buf, s, size)
	if !bytes.Equal(head[:len(want)], want) {
		return Stamp{}, false
	}
	return s, true
}

// Check tells whether a whole packet is, bit by bit, what Append made for this stamp.
func Check(p []byte, s Stamp) bool {
	if len(p) < Min(s.Disco) {
		return false
	}
	var buf [HeadBytes]byte
	head := makeHead(&buf, s, len(p))
	return bytes.Equal(p[:len(head)], head) && isFill(p[len(head):], s)
}

// makeHead lays all that is in front of the filler into buf and returns it.
func makeHead(buf *[HeadBytes]byte, s Stamp, size int) []byte {
	head, fields := buf[:wireGuardHead], buf[4:]
	if s.Disco {
		copy(buf[:], discoMagic)
		for i := range 4 {
			key := mix(uint64(s.Pair)<<2 | uint64(i))
			binary.LittleEndian.PutUint64(buf[discoKey+8*i:], key)
		}
		head, fields = buf[:], buf[discoNonce:]
	} else {
		buf[0] = wireGuardData
	}
	binary.LittleEndian.PutUint32(fields, s.Pair)
	binary.LittleEndian.PutUint64(fields[4:], s.Seq)
	binary.LittleEndian.PutUint64(fields[12:], uint64(s.Due))
	binary.LittleEndian.PutUint32(fields[20:], check(s, size))
	return head
}

// check is 32 bits that hold the fields and the size together. Each mix is one to one, so that a
// change of one field alone always changes the 64 bits of which 32 are kept.
func check(s Stamp, size int) uint32 {
	h := uint64(s.Pair)<<32 | uint64(uint32(size))
	return uint32(mix(mix(mix(h)^s.Seq)^uint64(s.Due)) >> 32)
}

// mix scatters 64 bits one to one: the step and finalizer of SplitMix64 (Steele, Lea and Flood,
// "Fast splittable pseudorandom number generators", 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
