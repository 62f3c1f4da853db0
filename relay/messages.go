package relay

import "derpd/relay/websock"

// messages takes the DERP stream out of WebSocket messages, in place.
func (l *loop) messages(c *conn, p []byte) {
	for c.phase != phaseDead && c.phase != phaseDrain {
		kind, data, n, err := c.ws.Next(p)
		if err != nil {
			l.closeMessages(c, websock.CodeOf(err), EndWebSocket)
			return
		}
		p = p[n:]
		switch kind {
		case websock.None:
			return
		case websock.Data:
			l.stream(c, data)
		case websock.Ping:
			if l.mayAnswer(c) {
				l.unframed(c, websock.AppendPong(nil, data))
			}
		case websock.Close:
			code, _ := websock.ParseClose(data)
			l.closeMessages(c, code, EndPeerClosed)
			return
		}
	}
}

// closeMessages ends a WebSocket with its close frame. Nothing may follow it (RFC 6455 §5.5.1), so
// its client leaves at once, and other connections of its key get what comes from now on. A login
// that is still worked on comes to nothing, or its client would be there and hear nothing.
func (l *loop) closeMessages(c *conn, code websock.Code, why Reason) {
	if c.login != nil {
		c.login = nil
		c.paused = false
		l.poll.ResumeReceive(c.h)
	}
	if c.client != nil {
		c.early = &early{remote: c.client.remote}
		l.leave(c)
	}
	l.unframed(c, websock.AppendClose(nil, code, ""))
	l.drain(c, why)
}
