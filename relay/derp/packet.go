package derp

// discoMagic opens a disco message: "TS" and U+1F4AC.
const discoMagic = "TS\xf0\x9f\x92\xac"

// discoMin is the shortest disco message: magic, the sender's disco key and a nonce.
const discoMin = len(discoMagic) + KeyLen + NonceLen

// LooksLikeDisco tells path discovery from WireGuard traffic by its first bytes, as every
// relay does. Whoever sends can forge it: use it to choose a queue, not to trust.
func LooksLikeDisco(packet []byte) bool {
	return len(packet) >= discoMin && string(packet[:len(discoMagic)]) == discoMagic
}

// AppendSendPacket appends a frame that asks the server to deliver packet, of at most
// MaxPacket bytes, to the client named to.
func AppendSendPacket(dst []byte, to Key, packet []byte) []byte {
	dst = AppendHeader(dst, FrameSendPacket, KeyLen+len(packet))
	return append(append(dst, to[:]...), packet...)
}

// ParseSendPacket cuts a SendPacket payload; packet aliases it.
func ParseSendPacket(payload []byte) (to Key, packet []byte, err error) {
	if err := CheckLen(FrameSendPacket, len(payload), FromClient); err != nil {
		return Key{}, nil, err
	}
	return Key(payload[:KeyLen]), payload[KeyLen:], nil
}

// AppendRecvPacket appends a frame that delivers packet, of at most MaxPacket bytes, from
// the client named src.
func AppendRecvPacket(dst []byte, src Key, packet []byte) []byte {
	dst = AppendHeader(dst, FrameRecvPacket, KeyLen+len(packet))
	return append(append(dst, src[:]...), packet...)
}

// ParseRecvPacket cuts a RecvPacket payload; packet aliases it.
func ParseRecvPacket(payload []byte) (src Key, packet []byte, err error) {
	if err := CheckLen(FrameRecvPacket, len(payload), FromServer); err != nil {
		return Key{}, nil, err
	}
	return Key(payload[:KeyLen]), payload[KeyLen:], nil
}

// AppendForwardPacket appends a frame by which one server of a region gives a packet, of at
// most MaxPacket bytes, to the server that to is connected to.
func AppendForwardPacket(dst []byte, src, to Key, packet []byte) []byte {
	dst = AppendHeader(dst, FrameForwardPacket, 2*KeyLen+len(packet))
	return append(append(append(dst, src[:]...), to[:]...), packet...)
}

// ParseForwardPacket cuts a ForwardPacket payload; packet aliases it.
func ParseForwardPacket(payload []byte) (src, to Key, packet []byte, err error) {
	if err := CheckLen(FrameForwardPacket, len(payload), FromClient); err != nil {
		return Key{}, Key{}, nil, err
	}
	src, to = Key(payload[:KeyLen]), Key(payload[KeyLen:2*KeyLen])
	return src, to, payload[2*KeyLen:], nil
}

// SendToRecv turns a whole SendPacket frame, header included, into the RecvPacket frame
// that its destination gets. The two have the same size, so the packet does not move.
func SendToRecv(frame []byte, src Key) {
	frame[0] = byte(FrameRecvPacket)
	copy(frame[HeaderLen:HeaderLen+KeyLen], src[:])
}

// ForwardToRecv turns a whole ForwardPacket frame, header included, into the RecvPacket
// frame that its destination gets. The packet stays where it is; the frame returned is
// the end of the one given, whose beginning is spoilt.
func ForwardToRecv(frame []byte) []byte {
	recv := frame[KeyLen:]
	copy(recv[HeaderLen:HeaderLen+KeyLen], frame[HeaderLen:]) // before the header covers src
	PutHeader(recv, FrameRecvPacket, len(recv)-HeaderLen)
	return recv
}
