package tlsengine

import "fmt"

const recordHeaderLen = 5

// Content types (RFC 8446 B.1).
const (
	recordChangeCipherSpec byte = 20
	recordAlert            byte = 21
	recordHandshake        byte = 22
	recordData             byte = 23
)

// RecordLen cuts a stream of records: it returns the length in bytes, header included, of the
// record at the start of b, of which b need not hold more than the header; 0 if the header (5
// bytes) is not whole yet. The error wraps [ErrUnexpected], [ErrVersion] or [ErrOverflow] if no
// record of an established session starts like this. It looks at the bytes of a session, not of a
// handshake, whose first records may carry another version.
func RecordLen(b []byte) (n int, err error) {
	if len(b) < recordHeaderLen {
		return 0, nil
	}
	if b[0] < recordChangeCipherSpec || b[0] > recordData {
		return 0, fmt.Errorf("%w: record type %d", ErrUnexpected, b[0])
	}
	if b[1] != 3 || b[2] != 3 {
		return 0, fmt.Errorf("%w: %#02x%02x, want 0x0303", ErrVersion, b[1], b[2])
	}
	n = int(b[3])<<8 | int(b[4])
	if n > MaxPlaintext+maxExpansionBytes {
		return 0, fmt.Errorf("%w: %d bytes", ErrOverflow, n)
	}
	return recordHeaderLen + n, nil
}

// putHeader writes the header of a record whose body is n bytes. Both versions say 0x0303.
func putHeader(b []byte, typ byte, n int) {
	b[0], b[1], b[2] = typ, 3, 3
	b[3], b[4] = byte(n>>8), byte(n)
}
