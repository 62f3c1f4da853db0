package stun

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlBuffer is aligned as the kernel wants control messages.
type controlBuffer struct {
	_     [0]unix.Cmsghdr
	bytes [controlBytesMax]byte
}

// replyControl writes to out the control message that makes an answer leave from the
// address that its request was sent to, as received says, and returns its length; 0 if the
// address is not told or is no address to send from, and the kernel has to choose.
//
// For an IPv4 request on an IPv6 socket the kernel sends both messages. IP_PKTINFO is the
// better one: it has the host's own address also for a request to a broadcast address.
func replyControl(out *controlBuffer, received []byte) int {
	n := 0
	for len(received) >= unix.SizeofCmsghdr {
		level, kind, data, next := cutControl(received)
		switch {
		case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO &&
			len(data) >= unix.SizeofInet4Pktinfo:
			// struct in_pktinfo: interface 4, our address 4, destination 4.
			return putSourceIPv4(out, [4]byte(data[4:8]))
		case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO &&
			len(data) >= unix.SizeofInet6Pktinfo:
			// struct in6_pktinfo: address 16, interface 4.
			n = putSourceIPv6(out, [16]byte(data), binary.NativeEndian.Uint32(data[16:]))
		}
		received = received[next:]
	}
	return n
}

// cutControl reads the first control message of b, which has room for its header, and
// tells where the next one begins. A length that leads outside b ends the walk.
func cutControl(b []byte) (level, kind int32, data []byte, next int) {
	header := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	if header.Len < unix.SizeofCmsghdr || uint64(header.Len) > uint64(len(b)) {
		return 0, 0, nil, len(b)
	}
	n := int(header.Len)
	data = b[unix.CmsgLen(0):n]
	return header.Level, header.Type, data, min(unix.CmsgSpace(len(data)), len(b))
}

func putSourceIPv4(out *controlBuffer, source [4]byte) int {
	if source == [4]byte{} {
		return 0
	}
	data := putControl(out, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
	copy(data[4:8], source[:])
	return unix.CmsgSpace(unix.SizeofInet4Pktinfo)
}

// putSourceIPv6 keeps the interface only for link-local addresses; see the package comment.
func putSourceIPv6(out *controlBuffer, source [16]byte, ifindex uint32) int {
	addr := netip.AddrFrom16(source)
	if addr.IsMulticast() || addr.IsUnspecified() || addr.Unmap().IsMulticast() {
		return 0
	}
	data := putControl(out, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	copy(data, source[:])
	if addr.IsLinkLocalUnicast() {
		binary.NativeEndian.PutUint32(data[16:], ifindex)
	}
	return unix.CmsgSpace(unix.SizeofInet6Pktinfo)
}

// putControl writes a header for size bytes of data, and returns the data, all zero.
func putControl(out *controlBuffer, level, kind int32, size int) []byte {
	clear(out.bytes[:])
	header := (*unix.Cmsghdr)(unsafe.Pointer(&out.bytes[0]))
	header.Level, header.Type = level, kind
	header.SetLen(unix.CmsgLen(size))
	return out.bytes[unix.CmsgLen(0):unix.CmsgLen(size)]
}
