package stun

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// The parts of RFC 8489 that a binding request and its answer are made of.
const (
	headerLen          = 20         // §5: type 2, length 2, cookie 4, transaction 12
	attributeHeaderLen = 4          // §14: type 2, length 2
	bindingRequest     = 0x0001     // §5
	bindingSuccess     = 0x0101     // §5
	magicCookie        = 0x2112a442 // §5
	xorMappedAddress   = 0x0020     // §14.2
	softwareAttribute  = 0x8022     // §14.14
	fingerprint        = 0x8028     // §14.7
	fingerprintXOR     = 0x5354554e // §14.7
	fingerprintLen     = attributeHeaderLen + 4
	familyIPv4         = 0x01 // §14.1
	familyIPv6         = 0x02 // §14.1
)

// software is what Tailscale's clients call themselves in their requests.
const software = "tailnode"

// Verdict is what became of a datagram.
type Verdict uint8

const (
	Answered            Verdict = iota
	NotSTUN                     // no STUN header
	NotBindingRequest           // another method, or no request
	MalformedAttributes         // the lengths inside do not add up
	WrongSoftware               // not a Tailscale client
	NoFingerprint               // the last attribute is no FINGERPRINT
	WrongFingerprint            // damaged on the way, or made by another protocol
	NoReturnAddress             // the sender cannot be answered
)

var verdictNames = [...]string{"answered", "not_stun", "not_binding_request",
	"malformed_attributes", "wrong_software", "no_fingerprint", "wrong_fingerprint",
	"no_return_address"}

// String returns the verdict as logs and metrics write it.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return "unknown"
}

// Respond appends to dst the answer to the datagram req that came from that address, or
// returns nil if it is to be ignored. It allocates only if dst has no room for 44 bytes;
// dst must not overlap req.
func Respond(dst, req []byte, from netip.AddrPort) []byte {
	out, verdict := Answer(dst, req, from)
	if verdict != Answered {
		return nil
	}
	return out
}

// Answer is Respond that tells why: dst comes back unchanged unless the verdict is Answered.
// The answer has one attribute, XOR-MAPPED-ADDRESS; an IPv4 address in IPv6 form, as a
// dual-stack socket has it, is told as IPv4.
func Answer(dst, req []byte, from netip.AddrPort) ([]byte, Verdict) {
	if verdict := judge(req); verdict != Answered {
		return dst, verdict
	}
	addr := from.Addr().Unmap()
	if !addr.IsValid() || addr.IsUnspecified() || from.Port() == 0 {
		return dst, NoReturnAddress
	}
	return appendReply(dst, req[8:headerLen], addr, from.Port()), Answered
}

// judge says whether req is a binding request of a Tailscale client.
func judge(req []byte) Verdict {
	// §5: the two highest bits are zero; the cookie tells STUN from all else.
	if len(req) < headerLen || req[0]&0xc0 != 0 ||
		binary.BigEndian.Uint32(req[4:]) != magicCookie {
		return NotSTUN
	}
	if binary.BigEndian.Uint16(req) != bindingRequest {
		return NotBindingRequest
	}
	if int(binary.BigEndian.Uint16(req[2:])) != len(req)-headerLen {
		return MalformedAttributes
	}
	ours, last, ok := attributes(req[headerLen:])
	switch {
	case !ok:
		return MalformedAttributes
	case !ours:
		return WrongSoftware
	case last != fingerprint || len(req) < headerLen+fingerprintLen:
		return NoFingerprint
	}
	return checkFingerprint(req)
}

// attributes walks over all attributes: is one of them our SOFTWARE, what is the type of
// the last one, and do their lengths add up? §14: values are padded to four bytes.
func attributes(b []byte) (ours bool, last uint16, ok bool) {
	for len(b) > 0 {
		if len(b) < attributeHeaderLen {
			return false, 0, false
		}
		last = binary.BigEndian.Uint16(b)
		n := int(binary.BigEndian.Uint16(b[2:]))
		b = b[attributeHeaderLen:]
		padded := (n + 3) &^ 3
		if padded > len(b) {
			return false, 0, false
		}
		if last == softwareAttribute && string(b[:n]) == software {
			ours = true
		}
		if last == fingerprint && n != 4 {
			return false, 0, false
		}
		b = b[padded:]
	}
	return ours, last, true
}

// checkFingerprint judges the FINGERPRINT with which req ends: the CRC-32 of all before it,
// with a constant mixed in so that a CRC of another protocol does not match (§14.7).
func checkFingerprint(req []byte) Verdict {
	covered := len(req) - fingerprintLen
	got := binary.BigEndian.Uint32(req[covered+attributeHeaderLen:])
	if got != crc32.ChecksumIEEE(req[:covered])^fingerprintXOR {
		return WrongFingerprint
	}
	return Answered
}

// appendReply appends the success response to a request with these 12 transaction bytes.
func appendReply(dst, transaction []byte, addr netip.Addr, port uint16) []byte {
	family, addrLen := byte(familyIPv6), 16
	if addr.Is4() {
		family, addrLen = familyIPv4, 4
	}
	dst = binary.BigEndian.AppendUint16(dst, bindingSuccess)
	dst = binary.BigEndian.AppendUint16(dst, uint16(attributeHeaderLen+4+addrLen))
	dst = binary.BigEndian.AppendUint32(dst, magicCookie)
	dst = append(dst, transaction...)
	mask := dst[len(dst)-16:] // §14.2: cookie and transaction, which hide the address
	dst = binary.BigEndian.AppendUint16(dst, xorMappedAddress)
	dst = binary.BigEndian.AppendUint16(dst, uint16(4+addrLen))
	dst = append(dst, 0, family)
	dst = binary.BigEndian.AppendUint16(dst, port^magicCookie>>16)
	ip := addr.As16()
	for i, b := range ip[16-addrLen:] {
		dst = append(dst, b^mask[i])
	}
	return dst
}
