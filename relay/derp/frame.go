package derp

import (
	"encoding/binary"
	"fmt"
)

// FrameType is the first byte of a frame.
type FrameType uint8

// The frame types of protocol version 2. S is the server, C a client, M a client that holds
// the mesh key.
const (
	FrameServerKey     FrameType = 0x01 // S>C  magic 8, key 32
	FrameClientInfo    FrameType = 0x02 // C>S  key 32, nonce 24, box of JSON
	FrameServerInfo    FrameType = 0x03 // S>C  nonce 24, box of JSON
	FrameSendPacket    FrameType = 0x04 // C>S  destination 32, packet
	FrameRecvPacket    FrameType = 0x05 // S>C  source 32, packet
	FrameKeepAlive     FrameType = 0x06 // S>C  empty
	FrameNotePreferred FrameType = 0x07 // C>S  0 or 1
	FramePeerGone      FrameType = 0x08 // S>C  key 32, reason 1
	FramePeerPresent   FrameType = 0x09 // S>M  key 32, IP 16, port 2, flags 1, name
	FrameForwardPacket FrameType = 0x0a // M>S  source 32, destination 32, packet
	FrameWatchConns    FrameType = 0x10 // M>S  empty
	FrameClosePeer     FrameType = 0x11 // M>S  key 32
	FramePing          FrameType = 0x12 // both 8 bytes
	FramePong          FrameType = 0x13 // both the 8 bytes of the Ping
	FrameHealth        FrameType = 0x14 // S>C  text, empty when healthy
	FrameRestarting    FrameType = 0x15 // S>C  reconnect in 4, try for 4, both ms
)

var frameNames = [...]string{
	FrameServerKey:     "ServerKey",
	FrameClientInfo:    "ClientInfo",
	FrameServerInfo:    "ServerInfo",
	FrameSendPacket:    "SendPacket",
	FrameRecvPacket:    "RecvPacket",
	FrameKeepAlive:     "KeepAlive",
	FrameNotePreferred: "NotePreferred",
	FramePeerGone:      "PeerGone",
	FramePeerPresent:   "PeerPresent",
	FrameForwardPacket: "ForwardPacket",
	FrameWatchConns:    "WatchConns",
	FrameClosePeer:     "ClosePeer",
	FramePing:          "Ping",
	FramePong:          "Pong",
	FrameHealth:        "Health",
	FrameRestarting:    "Restarting",
}

// String returns the frame's name, or its number for a type that version 2 does not have.
func (t FrameType) String() string {
	if int(t) < len(frameNames) && frameNames[t] != "" {
		return frameNames[t]
	}
	return fmt.Sprintf("type 0x%02x", uint8(t))
}

// Header reads a frame's type and the length of its payload, 0 to 2^32-1 as the peer
// claims it: ask CheckLen before believing it. ok is false if b is shorter than HeaderLen.
func Header(b []byte) (t FrameType, n int, ok bool) {
	if len(b) < HeaderLen {
		return 0, 0, false
	}
	return FrameType(b[0]), int(binary.BigEndian.Uint32(b[1:])), true
}

// PutHeader writes the header of a frame with a payload of n bytes to b[:HeaderLen].
func PutHeader(b []byte, t FrameType, n int) {
	_ = b[HeaderLen-1]
	b[0] = byte(t)
	binary.BigEndian.PutUint32(b[1:], uint32(n))
}

// AppendHeader appends the header of a frame with a payload of n bytes.
func AppendHeader(b []byte, t FrameType, n int) []byte {
	return binary.BigEndian.AppendUint32(append(b, byte(t)), uint32(n))
}
