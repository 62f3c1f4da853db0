package stun

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// TransactionLen is the length in bytes of what pairs an answer with its request.
const TransactionLen = 12

// AppendRequest appends the binding request of a Tailscale client, 40 bytes, as Respond answers it:
// SOFTWARE "tailnode" and FINGERPRINT. It is what load generators ask with.
func AppendRequest(dst []byte, transaction [TransactionLen]byte) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, bindingRequest)
	dst = binary.BigEndian.AppendUint16(dst, attributeHeaderLen+uint16(len(software))+fingerprintLen)
	dst = binary.BigEndian.AppendUint32(dst, magicCookie)
	dst = append(dst, transaction[:]...)
	dst = binary.BigEndian.AppendUint16(dst, softwareAttribute)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(software)))
	dst = append(dst, software...)
	sum := crc32.ChecksumIEEE(dst[start:]) ^ fingerprintXOR
	dst = binary.BigEndian.AppendUint16(dst, fingerprint)
	dst = binary.BigEndian.AppendUint16(dst, fingerprintLen-attributeHeaderLen)
	return binary.BigEndian.AppendUint32(dst, sum)
}

// ParseReply reads the success response to a binding request: for which request it is, and what
// address it tells, from its first XOR-MAPPED-ADDRESS. False: it is no such response.
func ParseReply(b []byte) (transaction [TransactionLen]byte, mapped netip.AddrPort, ok bool) {
	if len(b) < headerLen || binary.BigEndian.Uint16(b) != bindingSuccess ||
		binary.BigEndian.Uint32(b[4:]) != magicCookie ||
		int(binary.BigEndian.Uint16(b[2:])) != len(b)-headerLen {
		return transaction, mapped, false
	}
	copy(transaction[:], b[8:])
	mask := b[4:headerLen]
	for b = b[headerLen:]; len(b) >= attributeHeaderLen; {
		typ, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		b = b[attributeHeaderLen:]
		padded := (n + 3) &^ 3 // §14: values are padded to four bytes
		if padded > len(b) {
			break
		}
		if typ == xorMappedAddress {
			mapped, ok = parseMapped(b[:n], mask)
			return transaction, mapped, ok
		}
		b = b[padded:]
	}
	return transaction, mapped, false
}

// parseMapped reads the value of an XOR-MAPPED-ADDRESS (§14.2).
func parseMapped(value, mask []byte) (netip.AddrPort, bool) {
	var ip [16]byte
	addrLen := len(value) - 4
	if addrLen != 4 && addrLen != 16 || value[0] != 0 {
		return netip.AddrPort{}, false
	}
	for i, b := range value[4:] {
		ip[i] = b ^ mask[i]
	}
	port := binary.BigEndian.Uint16(value[2:]) ^ magicCookie>>16
	switch {
	case value[1] == familyIPv4 && addrLen == 4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[:4])), port), true
	case value[1] == familyIPv6 && addrLen == 16:
		return netip.AddrPortFrom(netip.AddrFrom16(ip), port), true
	}
	return netip.AddrPort{}, false
}
