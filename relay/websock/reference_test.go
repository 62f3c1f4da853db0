package websock

import (
	"fmt"
	"unicode/utf8"
)

// spoken is what a peer has said: all data, the control frames, each with the number of data
// bytes before it, and the fault that ended it.
type spoken struct {
	data     string
	controls []control
	fault    Fault
	broken   bool
}

func (s spoken) String() string {
	text := fmt.Sprintf("%d bytes of data %.100q, controls %+v", len(s.data), s.data, s.controls)
	if s.broken {
		text += ", " + (&Error{Fault: s.fault}).Error()
	}
	return text
}

type control struct {
	kind    Kind
	payload string
	after   int // data bytes
}

// refer takes a whole stream apart as RFC 6455 tells it, one bit field after the other, and
// shares nothing with Reader. What is missing at the end is not looked at, but that the data
// of an unfinished frame counts.
func refer(in []byte, client bool) (s spoken) {
	inMessage := false
	for {
		if len(in) < 2 {
			return s
		}
		fin, rsv, op := in[0]>>7, in[0]>>4&7, in[0]&15
		masked, short := in[1]>>7, in[1]&127
		at, size := 2, 0
		if short == 126 {
			size = 2
		} else if short == 127 {
			size = 8
		}
		length := uint64(short)
		if size > 0 {
			length = 0
			for i := range size {
				if at+i >= len(in) {
					return s
				}
				length = length*256 + uint64(in[at+i])
			}
			at += size
		}
		var key [4]byte
		if masked == 1 {
			if at+4 > len(in) {
				return s
			}
			copy(key[:], in[at:])
			at += 4
		}
		fail := func(f Fault) spoken { s.fault, s.broken = f, true; return s }
		isControl := op >= 8
		switch {
		case rsv != 0:
			return fail(ReservedBits)
		case masked == 0 && !client:
			return fail(Unmasked)
		case masked == 1 && client:
			return fail(Masked)
		case op != 0 && op != 1 && op != 2 && op != 8 && op != 9 && op != 10:
			return fail(UnknownOpcode)
		case length >= 1<<63:
			return fail(LengthSign)
		case isControl && length > 125:
			return fail(LongControl)
		case isControl && fin == 0:
			return fail(FragmentedControl)
		case op == 0 && !inMessage:
			return fail(NothingToContinue)
		case !isControl && op != 0 && inMessage:
			return fail(Interrupted)
		case op == 1:
			return fail(TextMessage)
		}
		var payload []byte
		for i := uint64(0); i < length; i++ {
			if at >= len(in) {
				if !isControl {
					s.data += string(payload)
				}
				return s
			}
			payload = append(payload, in[at]^key[i%4])
			at++
		}
		in = in[at:]
		if !isControl {
			inMessage = fin == 0
			s.data += string(payload)
			continue
		}
		kind := map[byte]Kind{8: Close, 9: Ping, 10: Pong}[op]
		if kind == Close && len(payload) > 0 {
			if len(payload) == 1 {
				return fail(CloseLength)
			}
			code := int(payload[0])*256 + int(payload[1])
			ok := code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 ||
				code >= 3000 && code <= 4999
			if !ok {
				return fail(CloseCode)
			}
			if !utf8.Valid(payload[2:]) {
				return fail(CloseReason)
			}
		}
		s.controls = append(s.controls, control{kind, string(payload), len(s.data)})
		if kind == Close {
			return s
		}
	}
}

// hear feeds the pieces to a Reader and gathers what it says. It checks what holds for every
// input.
func hear(t interface{ Fatalf(string, ...any) }, r *Reader, pieces ...[]byte) (s spoken) {
	over := false
	for _, b := range pieces {
		for {
			kind, p, n, err := r.Next(b)
			if n < 0 || n > len(b) || kind == None && err == nil && n != len(b) {
				t.Fatalf("consumed %d of %d bytes with kind %d", n, len(b), kind)
			}
			if over && (kind != None || err != nil) {
				t.Fatalf("kind %d, error %v after the end", kind, err)
			}
			b = b[n:]
			if err != nil {
				e, ok := err.(*Error)
				if !ok || kind != None || p != nil {
					t.Fatalf("kind %d, payload %x, error %v", kind, p, err)
				}
				s.fault, s.broken, over = e.Fault, true, true
				continue
			}
			if kind == None {
				break
			}
			if cap(p) != len(p) {
				t.Fatalf("appending to the payload overwrites what is behind it")
			}
			if kind == Data {
				if len(p) == 0 {
					t.Fatalf("empty data")
				}
				s.data += string(p)
				continue
			}
			s.controls = append(s.controls, control{kind, string(p), len(s.data)})
			over = over || kind == Close
		}
	}
	return s
}
