package derp

import "fmt"

// Side says who sent a frame: the two have different frames and limits.
type Side uint8

const (
	// FromClient frames are judged by the server: out of bounds, and the connection goes.
	FromClient Side = iota
	// FromServer frames are judged by the client.
	FromServer
)

// LengthError is a payload of a length that its frame type does not allow.
type LengthError struct {
	Frame    FrameType
	Got      int // payload bytes
	Min, Max int // payload bytes allowed
}

func (e *LengthError) Error() string {
	if e.Min == e.Max {
		return fmt.Sprintf("derp: %v frame with %d bytes of payload, want %d",
			e.Frame, e.Got, e.Min)
	}
	return fmt.Sprintf("derp: %v frame with %d bytes of payload, want %d to %d",
		e.Frame, e.Got, e.Min, e.Max)
}

// span is the closed range of payload lengths of a frame type.
type span struct{ min, max int }

// clientSpan is the rule for a client's frame. A server takes these types only; to it all
// others are unknown, its own frames and Pong too. ClientInfo stands here for the login.
func clientSpan(t FrameType) span {
	switch t {
	case FrameSendPacket:
		return span{KeyLen, KeyLen + MaxPacket}
	case FramePing:
		return span{PingLen, MaxPing}
	case FrameNotePreferred:
		return span{1, 1}
	case FrameForwardPacket:
		return span{2 * KeyLen, 2*KeyLen + MaxPacket}
	case FrameWatchConns:
		return span{0, 0}
	case FrameClosePeer:
		return span{KeyLen, KeyLen}
	case FrameClientInfo:
		return span{MinClientInfo, MaxClientInfo}
	}
	return span{0, MaxUnknown}
}

// serverSpan is the rule for a server's frame. Longer payloads than today's are for future
// versions, hence the wide upper ends.
func serverSpan(t FrameType) span {
	switch t {
	case FrameRecvPacket, FramePeerGone, FramePeerPresent:
		return span{KeyLen, MaxFromServer}
	case FramePing, FramePong:
		return span{PingLen, MaxFromServer}
	case FrameRestarting:
		return span{restartingLen, MaxFromServer}
	case FrameServerInfo:
		return span{NonceLen + boxOverhead, MaxFromServer}
	case FrameServerKey:
		return span{MinServerKey, MaxServerKey}
	}
	return span{0, MaxFromServer}
}

// CheckLen judges a header: whether a payload of n bytes is allowed for a frame of type t
// from that side. The error is a *LengthError.
//
// ClientInfo is judged by the rule of a login. Behind a login it is unknown like any type
// that a server does not take: use CheckUnknown. A client that gets fewer bytes than a
// server's frame needs may as well skip the frame, as clients in the field do.
func CheckLen(t FrameType, n int, from Side) error {
	s := clientSpan(t)
	if from == FromServer {
		s = serverSpan(t)
	}
	if n < s.min || n > s.max {
		return &LengthError{Frame: t, Got: n, Min: s.min, Max: s.max}
	}
	return nil
}

// CheckUnknown judges the header of a frame that a server is going to discard.
func CheckUnknown(t FrameType, n int) error {
	if n < 0 || n > MaxUnknown {
		return &LengthError{Frame: t, Got: n, Min: 0, Max: MaxUnknown}
	}
	return nil
}
