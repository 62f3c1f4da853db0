package relay

import (
	"bytes"

	"derpd/relay/derp"
)

// simOddity is what a stranger does: he breaks a rule of the relay, and gets no further.
type simOddity uint8

const (
	oddNone   simOddity = iota
	oddSilent           // says nothing
	oddHalf             // half a request, then silence or the end
	oddHello            // a hello that is refused
	oddBytes            // bytes without an end in place of a request, or of a hello
	oddLogin            // a frame that is no login
	oddBox              // a login that does not open
	oddLength           // after the login, a frame of a wrong length
	oddMesh             // after the login, a frame for mesh peers
	oddRecord           // a record that was not sealed
	oddityCount
)

// beStrange begins a connection that misbehaves, and notes the end it has earned.
func (c *simConn) beStrange() {
	w := c.world
	c.odd = 1 + simOddity(w.rand.IntN(int(oddityCount)-1))
	c.fast, c.greeted = true, true
	switch c.odd {
	case oddSilent:
	case oddHello:
		if w.rules.tls {
			c.sayHello(simHelloBad)
			w.provoked[EndHandshakeFailed]++
		}
	case oddBytes:
		c.sayBytes()
	case oddHalf:
		c.open()
		if len(c.plain) > 0 {
			c.plain = c.plain[:w.rand.IntN(len(c.plain))]
		}
	case oddLogin:
		c.open()
		c.say(derp.AppendPing(nil, [8]byte{}))
		w.provoked[EndLoginFrame]++
	case oddBox:
		c.open()
		c.login()
		c.plain[len(c.plain)-1] ^= 1
		w.provoked[EndLoginBox]++
	case oddLength:
		c.open()
		c.login()
		c.say(derp.AppendHeader(nil, derp.FramePing, derp.PingLen-1))
		w.provoked[EndFrameLength]++
	case oddMesh:
		c.open()
		c.login()
		c.say(derp.AppendWatchConns(nil))
		w.provoked[EndNotPermitted]++
	case oddRecord:
		c.open()
		if !w.rules.tls {
			break // net/http would answer it, in a goroutine of its own
		}
		c.wire = append(c.wire, 23, 3, 3, 0, 40)
		c.wire = append(c.wire, make([]byte, 40)...)
		c.wireEnd = len(c.wire)
		w.provoked[EndBadRecord]++
		w.provoked[EndHandshakeFailed]++ // where it is taken for the second flight
	}
	c.write(w.odds(2))
}

// sayBytes sends what is neither a hello nor a request. No line feed: that would be a request
// for net/http.
func (c *simConn) sayBytes() {
	w := c.world
	c.wire = bytes.Repeat([]byte{'A'}, 1+w.rand.IntN(2*requestBytesMax))
	c.wireEnd = len(c.wire)
	w.provoked[EndNotTLS]++
	w.provoked[EndRequestTooLarge]++
}
