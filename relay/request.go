package relay

import (
	"encoding/hex"

	"derpd/relay/derp"
	"derpd/relay/upgrade"
	"derpd/relay/websock"
)

// requestBytes collects the head of an HTTP request and acts on it: upgrade to DERP here,
// anything else goes to the HTTP server.
func (l *loop) requestBytes(c *conn, p []byte) {
	have := 0
	if c.in != nil {
		have = len(c.in.Buf)
	}
	if have+len(p) > preLoginBytesMax {
		l.tooLarge(c)
		return
	}
	c.in = l.q.Blocks.Grow(c.in, have+len(p))
	c.in.Buf = append(c.in.Buf, p...)
	n := upgrade.HeadLen(c.in.Buf)
	if n > requestBytesMax || n == 0 && len(c.in.Buf) > requestBytesMax {
		l.tooLarge(c)
		return
	}
	if n == 0 {
		return
	}
	head := c.in
	c.in = nil
	l.lend(head)
	r, v := upgrade.Parse(head.Buf[:n])
	var ws []byte
	if v.Kind == upgrade.WebSocket {
		var err error
		if ws, err = websock.Accept(r); err != nil {
			v.Kind = upgrade.Other // net/http tells what is wrong with it
		}
	}
	if v.Kind == upgrade.Other || l.srv.cfg.NoDERP {
		l.toHTTP(c, head.Buf)
		return
	}
	l.upgrade(c, v, ws, head.Buf[n:])
}

func (l *loop) tooLarge(c *conn) {
	l.control(c, []byte("HTTP/1.1 431 Request Header Fields Too Large\r\n"+
		"Content-Length: 0\r\nConnection: close\r\n\r\n"))
	l.drain(c, EndRequestTooLarge)
}

// greeting is the response to an upgrade.
func greeting(public derp.Key) []byte {
	return []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n" +
		"Connection: Upgrade\r\nDerp-Version: 2\r\nDerp-Public-Key: " +
		hex.EncodeToString(public[:]) + "\r\n\r\n")
}

// upgrade switches a connection to DERP, inside WebSocket messages if ws, the response to
// its opening handshake, is not nil. rest is what followed the request.
func (l *loop) upgrade(c *conn, v upgrade.Verdict, ws, rest []byte) {
	l.n.Upgrades++
	c.phase = phaseLogin
	c.poor = v.NotIdeal
	c.state = nil
	l.poll.SetTimeout(c.h, loginTimeout)
	l.poll.SetWriteTimeout(c.h, l.srv.cfg.WriteTimeout)
	switch {
	case ws != nil:
		l.n.WebSockets++
		l.control(c, ws)
		c.ws = new(websock.Reader)
	case !v.Fast:
		l.control(c, l.srv.greet)
	}
	var key [derp.HeaderLen + len(derp.Magic) + derp.KeyLen]byte
	l.control(c, derp.AppendServerKey(key[:0], l.srv.public))
	if len(rest) > 0 {
		l.plaintext(c, rest)
	}
}
