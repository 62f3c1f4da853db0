package derp

import (
	"encoding/binary"
	"time"
)

// AppendKeepAlive appends the frame that keeps a client's 120 s read deadline away.
func AppendKeepAlive(dst []byte) []byte { return AppendHeader(dst, FrameKeepAlive, 0) }

// AppendNotePreferred appends the frame by which a client says whether this server is its
// home.
func AppendNotePreferred(dst []byte, preferred bool) []byte {
	var b byte
	if preferred {
		b = 1
	}
	return append(AppendHeader(dst, FrameNotePreferred, 1), b)
}

// ParseNotePreferred reads a NotePreferred payload; any byte but 0 is yes.
func ParseNotePreferred(payload []byte) (preferred bool, err error) {
	if err := CheckLen(FrameNotePreferred, len(payload), FromClient); err != nil {
		return false, err
	}
	return payload[0] != 0, nil
}

// AppendPing appends a Ping frame with the bytes that its Pong is to echo.
func AppendPing(dst []byte, data [PingLen]byte) []byte {
	return append(AppendHeader(dst, FramePing, PingLen), data[:]...)
}

// ParsePing returns what a Pong must echo of a Ping payload, whichever side sent it.
func ParsePing(payload []byte) (data [PingLen]byte, err error) {
	if err := CheckLen(FramePing, len(payload), FromClient); err != nil {
		return data, err
	}
	return [PingLen]byte(payload), nil
}

// AppendPong appends the answer to a Ping.
func AppendPong(dst []byte, data [PingLen]byte) []byte {
	return append(AppendHeader(dst, FramePong, PingLen), data[:]...)
}

// ParsePong returns what a Pong payload echoes.
func ParsePong(payload []byte) (data [PingLen]byte, err error) {
	if err := CheckLen(FramePong, len(payload), FromServer); err != nil {
		return data, err
	}
	return [PingLen]byte(payload), nil
}

// AppendHealth appends a Health frame: what is wrong with the connection, in words for the
// client's user, or empty when it is well again.
func AppendHealth(dst []byte, problem string) []byte {
	return append(AppendHeader(dst, FrameHealth, len(problem)), problem...)
}

// ParseHealth returns a Health payload's text.
func ParseHealth(payload []byte) (problem string, err error) {
	if err := CheckLen(FrameHealth, len(payload), FromServer); err != nil {
		return "", err
	}
	return string(payload), nil
}

// restartingLen is two times of four bytes.
const restartingLen = 4 + 4

// Restarting announces that the server is about to close its connections.
type Restarting struct {
	ReconnectIn time.Duration // how long the client should wait first
	TryFor      time.Duration // and how long then try before it asks for help
}

// AppendRestarting appends a Restarting frame. The wire has whole milliseconds, 0 to
// 2^32-1; times outside are moved to the nearer end.
func AppendRestarting(dst []byte, r Restarting) []byte {
	dst = AppendHeader(dst, FrameRestarting, restartingLen)
	dst = binary.BigEndian.AppendUint32(dst, milliseconds(r.ReconnectIn))
	return binary.BigEndian.AppendUint32(dst, milliseconds(r.TryFor))
}

func milliseconds(d time.Duration) uint32 {
	return uint32(min(max(d.Milliseconds(), 0), 1<<32-1))
}

// ParseRestarting cuts a Restarting payload.
func ParseRestarting(payload []byte) (Restarting, error) {
	if err := CheckLen(FrameRestarting, len(payload), FromServer); err != nil {
		return Restarting{}, err
	}
	ms := func(b []byte) time.Duration {
		return time.Duration(binary.BigEndian.Uint32(b)) * time.Millisecond
	}
	return Restarting{ReconnectIn: ms(payload), TryFor: ms(payload[4:])}, nil
}
