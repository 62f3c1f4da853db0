package websock

import (
	"errors"
	"fmt"
	"strings"
)

// Fault is a way to break RFC 6455.
type Fault uint8

// What a peer may have done wrong. The value that an error shows is given in parentheses.
const (
	Unmasked          Fault = iota // a client's frame without a mask
	Masked                         // a server's frame with one
	ReservedBits                   // set, with no extension agreed (the frame's first byte)
	UnknownOpcode                  // (the opcode)
	TextMessage                    // DERP is binary
	LongControl                    // a control frame over ControlMax (its length)
	FragmentedControl              // a control frame that is not final (the opcode)
	NothingToContinue              // a continuation without a message before it
	Interrupted                    // a message begins before the last has ended (the opcode)
	LengthSign                     // the top bit of a 64-bit length is set (the length)
	CloseLength                    // a close frame of one byte
	CloseCode                      // a code that must not be sent (the code)
	CloseReason                    // not UTF-8
	faults
)

var faultTexts = [faults]struct {
	format string // of the value, if it has a verb
	code   Code
}{
	Unmasked:          {"a frame from a client without a mask", ProtocolError},
	Masked:            {"a frame from a server with a mask", ProtocolError},
	ReservedBits:      {"reserved bits are set in %#02x, with no extension agreed", ProtocolError},
	UnknownOpcode:     {"opcode %#x is unknown", ProtocolError},
	TextMessage:       {"a text message; DERP is sent in binary ones", UnsupportedData},
	LongControl:       {"a control frame of %d bytes, over 125", ProtocolError},
	FragmentedControl: {"a fragmented control frame, opcode %#x", ProtocolError},
	NothingToContinue: {"a continuation with no message to continue", ProtocolError},
	Interrupted:       {"opcode %#x before the last message has ended", ProtocolError},
	LengthSign:        {"a length of %#x, over 63 bits", ProtocolError},
	CloseLength:       {"a close frame of one byte", ProtocolError},
	CloseCode:         {"a close frame with code %d, which must not be sent", ProtocolError},
	CloseReason:       {"the reason of a close frame is not UTF-8", InvalidPayload},
}

// Error is a breach of the protocol by the peer. The connection is over; CodeOf tells what
// to close it with.
type Error struct {
	Fault Fault
	Value uint64 // what was sent, see the list of faults
}

func (e *Error) Error() string {
	format := "websock: " + faultTexts[e.Fault].format
	if strings.Contains(format, "%") {
		return fmt.Sprintf(format, e.Value)
	}
	return format
}

// CodeOf returns the code to close with after an error of this package, and InternalError for
// any other error.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return faultTexts[e.Fault].code
	}
	return InternalError
}
