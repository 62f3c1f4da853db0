package websock

import (
	"encoding/binary"
	"unicode/utf8"
)

// Code is the status code of a close frame (RFC 6455 §7.4).
type Code uint16

// The codes that a relay has a use for.
const (
	Normal          Code = 1000
	GoingAway       Code = 1001 // the server stops
	ProtocolError   Code = 1002
	UnsupportedData Code = 1003
	NoCode          Code = 1005 // never sent: the close frame was empty
	InvalidPayload  Code = 1007
	PolicyViolation Code = 1008
	InternalError   Code = 1011
	TryAgainLater   Code = 1013 // the server is full
)

// sendable reports whether a code may stand in a close frame (RFC 6455 §7.4.1, §7.4.2 and
// the registry of §11.7).
func (c Code) sendable() bool {
	switch c {
	case 1004, NoCode, 1006:
		return false
	}
	return c >= 1000 && c <= 1014 || c >= 3000 && c <= 4999
}

// ParseClose returns what a close frame's payload says, as Next returned it: NoCode if it is
// empty. A reason, if there is one, is UTF-8 and aliases p.
func ParseClose(p []byte) (code Code, reason []byte) {
	if len(p) < codeLen {
		return NoCode, nil
	}
	return Code(binary.BigEndian.Uint16(p)), p[codeLen:]
}

// checkClose judges a close frame's payload.
func checkClose(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if len(p) < codeLen {
		return &Error{Fault: CloseLength}
	}
	code, reason := ParseClose(p)
	if !code.sendable() {
		return &Error{Fault: CloseCode, Value: uint64(code)}
	}
	if !utf8.Valid(reason) {
		return &Error{Fault: CloseReason}
	}
	return nil
}
