package websock

import "encoding/binary"

// Kind is what Next has found.
type Kind uint8

// What Next returns.
const (
	None  Kind = iota // nothing: all bytes are used up
	Data              // some payload of binary messages
	Ping              // a whole ping
	Pong              // a whole pong, which answers nothing and may be ignored
	Close             // a whole close frame, the peer's last
)

// Reader takes the frames apart that a peer sends. It is plain data; the zero value is ready
// for the first byte behind the opening handshake. Payload is handed on as it arrives and
// never gathered: only a torn header or control frame waits, in a buffer that is made when
// first needed and is all that a Reader ever holds.
type Reader struct {
	// Client says that this side is the client: the peer's frames must not be masked. On the
	// other side they must.
	Client bool

	within bool   // a fragmented message has begun and not ended
	over   bool   // after the peer's close frame, or an error
	kind   Kind   // of the frame whose payload is being read; None: a header is next
	have   uint8  // bytes in torn
	key    uint32 // of the next payload byte, in its lowest byte
	left   uint64 // payload bytes of the frame still to come
	torn   *[ControlMax]byte
}

// Next consumes the first n bytes of b, which must be writable, and returns what they held.
// p is the payload, unmasked in place: Data of at least one byte, or the whole of a control
// frame. It aliases b, but a control frame that was torn lies in the Reader until the next
// call. With None all of b is consumed. An error is an *Error.
//
// After Close or an error everything is consumed without a look (RFC 6455 §1.4).
func (r *Reader) Next(b []byte) (kind Kind, p []byte, n int, err error) {
	if r.over {
		return None, nil, len(b), nil
	}
	rest := b
	for {
		if r.kind == None {
			var ok bool
			if rest, ok, err = r.header(rest); err != nil {
				r.over = true
				return None, nil, len(b) - len(rest), err
			} else if !ok {
				return None, nil, len(b), nil
			}
		}
		here := int(min(r.left, uint64(len(rest))))
		p, rest = rest[:here:here], rest[here:]
		if r.key != 0 {
			mask(p, r.key)
			r.key = turn(r.key, here)
		}
		r.left -= uint64(here)
		if kind, p, err = r.payload(p); kind != None || err != nil || len(rest) == 0 {
			return kind, p, len(b) - len(rest), err
		}
	}
}

// payload takes the next bytes of the frame's payload and returns what they complete.
func (r *Reader) payload(p []byte) (Kind, []byte, error) {
	kind := r.kind
	if r.left == 0 {
		r.kind = None
	}
	if kind == Data {
		if len(p) == 0 {
			return None, nil, nil
		}
		return Data, p, nil
	}
	if r.left > 0 || r.have > 0 {
		r.keep(p)
		if r.left > 0 {
			return None, nil, nil
		}
		p = r.torn[:r.have:r.have]
		r.have = 0
	}
	if kind == Close {
		r.over = true
		if err := checkClose(p); err != nil {
			return None, nil, err
		}
	}
	return kind, p, nil
}

// keep adds b to what is torn. It fits: headers and control payloads are no longer.
func (r *Reader) keep(b []byte) {
	if r.torn == nil {
		r.torn = new([ControlMax]byte)
	}
	r.have += uint8(copy(r.torn[r.have:], b))
}

// header takes a header from b, or its beginning, and returns the bytes behind it; not ok if
// it goes on behind b.
func (r *Reader) header(b []byte) (rest []byte, ok bool, err error) {
	if len(b) == 0 {
		return nil, false, nil
	}
	if r.have == 0 {
		n := headerLen(b)
		if n > len(b) {
			r.keep(b)
			return nil, false, nil
		}
		return b[n:], true, r.begin(b[:n])
	}
	for {
		n := headerLen(r.torn[:r.have]) - int(r.have)
		if n == 0 {
			break
		}
		if len(b) == 0 {
			return nil, false, nil
		}
		take := min(n, len(b))
		r.keep(b[:take])
		b = b[take:]
	}
	h := r.torn[:r.have]
	r.have = 0
	return b, true, r.begin(h)
}

// begin begins the frame of a whole header.
func (r *Reader) begin(h []byte) error {
	length := payloadLen(h)
	if err := r.check(h, length); err != nil {
		return err
	}
	switch op := h[0] & bitsOp; op {
	case opClose:
		r.kind = Close
	case opPing:
		r.kind = Ping
	case opPong:
		r.kind = Pong
	default:
		r.kind = Data
		r.within = h[0]&bitFinal == 0
	}
	r.left = length
	r.key = 0
	if h[1]&bitMasked != 0 {
		r.key = binary.LittleEndian.Uint32(h[len(h)-keyLen:])
	}
	return nil
}

// check judges a whole header (RFC 6455 §5.1 to §5.5).
func (r *Reader) check(h []byte, length uint64) error {
	op := h[0] & bitsOp
	final := h[0]&bitFinal != 0
	switch masked := h[1]&bitMasked != 0; {
	case h[0]&bitsRSV != 0:
		return &Error{Fault: ReservedBits, Value: uint64(h[0])}
	case !masked && !r.Client:
		return &Error{Fault: Unmasked}
	case masked && r.Client:
		return &Error{Fault: Masked}
	case op > opPong || op > opBinary && op < opClose:
		return &Error{Fault: UnknownOpcode, Value: uint64(op)}
	case int64(length) < 0:
		return &Error{Fault: LengthSign, Value: length}
	case op&bitControl != 0:
		if length > ControlMax {
			return &Error{Fault: LongControl, Value: length}
		}
		if !final {
			return &Error{Fault: FragmentedControl, Value: uint64(op)}
		}
	case op == opContinuation && !r.within:
		return &Error{Fault: NothingToContinue}
	case op != opContinuation && r.within:
		return &Error{Fault: Interrupted, Value: uint64(op)}
	case op == opText:
		return &Error{Fault: TextMessage}
	}
	return nil
}
