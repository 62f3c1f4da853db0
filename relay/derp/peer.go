package derp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// GoneReason is the last byte of PeerGone.
type GoneReason uint8

const (
	// GoneDisconnected: a client from which the receiver had got a packet has left.
	GoneDisconnected GoneReason = 0
	// GoneNotHere: a packet for this key could not be delivered, it is not connected.
	GoneNotHere GoneReason = 1
)

// String returns the reason as logs and metrics write it.
func (r GoneReason) String() string {
	switch r {
	case GoneDisconnected:
		return "disconnected"
	case GoneNotHere:
		return "not_here"
	}
	return fmt.Sprintf("reason_0x%02x", uint8(r))
}

// AppendPeerGone appends a PeerGone frame.
func AppendPeerGone(dst []byte, peer Key, reason GoneReason) []byte {
	dst = AppendHeader(dst, FramePeerGone, KeyLen+1)
	return append(append(dst, peer[:]...), byte(reason))
}

// ParsePeerGone cuts a PeerGone payload. The form of old servers, without a reason, means
// GoneDisconnected; bytes behind the reason are ignored.
func ParsePeerGone(payload []byte) (peer Key, reason GoneReason, err error) {
	if err := CheckLen(FramePeerGone, len(payload), FromServer); err != nil {
		return Key{}, 0, err
	}
	if len(payload) > KeyLen {
		reason = GoneReason(payload[KeyLen])
	}
	return Key(payload[:KeyLen]), reason, nil
}

// PresentFlags say what kind of connection PeerPresent announces. A server of today never
// sends 0: without any other flag it sets PresentRegular.
type PresentFlags uint8

const (
	PresentRegular  PresentFlags = 1 << iota // an ordinary client
	PresentMeshPeer                          // another server of the region
	PresentProber                            // a prober
	PresentNotIdeal                          // a client whose best node is another
)

// PeerPresent tells a watcher of a new connection.
type PeerPresent struct {
	Key     Key
	Addr    netip.AddrPort // zero if the server does not know or tell it
	Flags   PresentFlags
	AppName string // since 1.104; empty if none was given
}

const (
	presentAddrLen  = KeyLen + 16 + 2
	presentShortLen = presentAddrLen + 1
)

// AppendPeerPresent appends the form of derper 1.104, which ends in the application name.
// A name of more than 255 bytes is cut; ClientInfo allows MaxAppName.
func AppendPeerPresent(dst []byte, p PeerPresent) []byte {
	name := p.AppName[:min(len(p.AppName), 255)]
	dst = AppendHeader(dst, FramePeerPresent, presentShortLen+1+len(name))
	dst = append(appendPresentHead(dst, p), byte(len(name)))
	return append(dst, name...)
}

// AppendPeerPresentShort appends the form of derper 1.102, without the application name.
func AppendPeerPresentShort(dst []byte, p PeerPresent) []byte {
	return appendPresentHead(AppendHeader(dst, FramePeerPresent, presentShortLen), p)
}

func appendPresentHead(dst []byte, p PeerPresent) []byte {
	dst = append(dst, p.Key[:]...)
	var ip [16]byte // zeros for an unknown address
	var port uint16
	if addr := p.Addr.Addr(); addr.IsValid() {
		ip, port = addr.As16(), p.Addr.Port()
	}
	dst = append(dst, ip[:]...)
	dst = binary.BigEndian.AppendUint16(dst, port)
	return append(dst, byte(p.Flags))
}

// ParsePeerPresent cuts a PeerPresent payload in any of its forms: older servers end after
// the key, the address or the flags. A name that is cut off or that no client could have
// given is left empty, because a watcher must not lose the key over it.
func ParsePeerPresent(payload []byte) (PeerPresent, error) {
	if err := CheckLen(FramePeerPresent, len(payload), FromServer); err != nil {
		return PeerPresent{}, err
	}
	p := PeerPresent{Key: Key(payload[:KeyLen])}
	if len(payload) < presentAddrLen {
		return p, nil
	}
	ip := netip.AddrFrom16([16]byte(payload[KeyLen:])).Unmap()
	port := binary.BigEndian.Uint16(payload[KeyLen+16:])
	if !ip.IsUnspecified() || port != 0 {
		p.Addr = netip.AddrPortFrom(ip, port)
	}
	if len(payload) < presentShortLen {
		return p, nil
	}
	p.Flags = PresentFlags(payload[presentAddrLen])
	if rest := payload[presentShortLen:]; len(rest) > 0 && len(rest) > int(rest[0]) {
		if name := string(rest[1 : 1+int(rest[0])]); ValidAppName(name) {
			p.AppName = name
		}
	}
	return p, nil
}

// AppendWatchConns appends the frame by which a mesh peer asks for PeerPresent and PeerGone.
func AppendWatchConns(dst []byte) []byte { return AppendHeader(dst, FrameWatchConns, 0) }

// AppendClosePeer appends the frame by which a mesh peer has all connections of a key closed.
func AppendClosePeer(dst []byte, peer Key) []byte {
	return append(AppendHeader(dst, FrameClosePeer, KeyLen), peer[:]...)
}

// ParseClosePeer cuts a ClosePeer payload.
func ParseClosePeer(payload []byte) (Key, error) {
	if err := CheckLen(FrameClosePeer, len(payload), FromClient); err != nil {
		return Key{}, err
	}
	return Key(payload), nil
}

// ErrMagic is a greeting that is not a DERP server's.
var ErrMagic = errors.New("derp: the ServerKey frame does not begin with DERP's magic: " +
	"the peer is no DERP server")

// AppendServerKey appends the greeting, which a server sends before all else.
func AppendServerKey(dst []byte, server Key) []byte {
	dst = AppendHeader(dst, FrameServerKey, MinServerKey)
	return append(append(dst, Magic...), server[:]...)
}

// ParseServerKey cuts a ServerKey payload. The error is a *LengthError or ErrMagic.
func ParseServerKey(payload []byte) (Key, error) {
	if err := CheckLen(FrameServerKey, len(payload), FromServer); err != nil {
		return Key{}, err
	}
	if string(payload[:len(Magic)]) != Magic {
		return Key{}, ErrMagic
	}
	return Key(payload[len(Magic):MinServerKey]), nil
}
