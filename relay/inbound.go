package relay

import (
	"errors"
	"io"

	"derpd/relay/block"
	"derpd/relay/derp"
	"derpd/tlsengine"
)

const tlsHeaderLen = 5 // of a TLS record, RFC 8446 §5.1

// partRoom is the room for have bytes of something that will be whole bytes long: as much again,
// and a packet of an ordinary link at least. A peer that announces much gets room for it as it
// sends it.
func partRoom(whole, have int) int { return min(whole, max(2*have, 2048)) }

// records opens the TLS records in b, in place. A record that is not whole yet waits in a
// block of its own for just that long.
func (l *loop) records(c *conn, b []byte) {
	if c.raw != nil {
		var ok bool
		if b, ok = l.completeRecord(c, b); !ok {
			return
		}
	}
	for len(b) > 0 {
		n, err := tlsengine.RecordLen(b)
		if err != nil {
			l.badRecord(c, err)
			return
		}
		if n == 0 || n > len(b) {
			c.raw = l.q.Blocks.Grow(nil, max(partRoom(n, len(b)), len(b)))
			c.raw.Buf = append(c.raw.Buf, b...)
			return
		}
		rec := b[:n:n]
		b = b[n:]
		if !l.record(c, rec) {
			return
		}
		if c.login != nil { // the rest waits until the login has been worked on
			l.stash(c, b)
			return
		}
	}
}

// completeRecord appends b to the record that began earlier. It returns the bytes behind
// that record, and false when there are none to go on with.
func (l *loop) completeRecord(c *conn, b []byte) (rest []byte, ok bool) {
	for {
		have := len(c.raw.Buf)
		n, err := tlsengine.RecordLen(c.raw.Buf)
		if err != nil {
			l.badRecord(c, err)
			return nil, false
		}
		want := n
		if n == 0 { // not even the header is whole
			want = tlsHeaderLen
		}
		take := min(want-have, len(b))
		if cap(c.raw.Buf) < have+take {
			c.raw = l.q.Blocks.Grow(c.raw, partRoom(want, have+take))
		}
		c.raw.Buf = append(c.raw.Buf, b[:take]...)
		b = b[take:]
		if len(c.raw.Buf) < want {
			return nil, false
		}
		if n != 0 {
			break
		}
	}
	whole := c.raw
	c.raw = nil
	l.lend(whole) // its frames may be queued by reference until the turn ends
	if !l.record(c, whole.Buf) {
		return nil, false
	}
	if c.login != nil {
		l.stash(c, b)
		return nil, false
	}
	return b, true
}

// record opens one record and deals with what is in it; false when the connection is over.
func (l *loop) record(c *conn, rec []byte) bool {
	l.expectOpen(c)
	plain, err := c.tls.Open(rec)
	if err != nil {
		l.badRecord(c, err)
		return false
	}
	l.expectDestination(c)
	if c.tls.NeedsSend() {
		l.touch(c)
	}
	if len(plain) > 0 {
		l.plaintext(c, plain)
	}
	return c.phase != phaseDead && c.phase != phaseDrain
}

func (l *loop) badRecord(c *conn, err error) {
	var alert *tlsengine.AlertError
	switch {
	case errors.Is(err, io.EOF):
		if c.phase == phaseHTTP {
			c.bridge.peerClosed()
			return
		}
		l.end(c, EndPeerClosed)
	case errors.As(err, &alert):
		l.endErr(c, EndPeerAlert, err) // it has no answer: the peer is gone (RFC 8446 §6.2)
	default:
		l.endErr(c, EndBadRecord, err)
	}
}

// plaintext deals with bytes of the stream: those of WebSocket messages are taken out first.
func (l *loop) plaintext(c *conn, p []byte) {
	if c.ws != nil {
		l.messages(c, p)
		return
	}
	l.stream(c, p)
}

// stream deals with bytes by phase.
func (l *loop) stream(c *conn, p []byte) {
	switch c.phase {
	case phaseOpen:
		l.frames(c, p)
	case phaseRequest:
		l.requestBytes(c, p)
	case phaseLogin:
		l.loginBytes(c, p)
	case phaseHTTP:
		c.bridge.deliver(l, c, p)
	case phaseLinkHead, phaseLinkKey, phaseLink:
		l.linkBytes(c, p)
	}
}

// frames cuts frames from the stream of a logged-in client and handles each. The bytes of
// p stay valid until the turn ends.
func (l *loop) frames(c *conn, p []byte) {
	l.awake(c)
	if cl := c.client; cl.route.Shared() && cl.route.Active() != cl {
		l.srv.keys.Activate(cl.route, cl) // any frame makes its connection the active one
	}
	if c.skip > 0 {
		n := min(int(c.skip), len(p))
		c.skip -= uint32(n)
		p = p[n:]
	}
	if c.in != nil {
		var ok bool
		if p, ok = l.completeFrame(c, p); !ok {
			return
		}
	}
	for len(p) > 0 {
		t, n, ok := derp.Header(p)
		if !ok {
			c.in = l.q.Blocks.Grow(nil, len(p))
			c.in.Buf = append(c.in.Buf, p...)
			return
		}
		if !l.checkFrame(c, t, n) {
			return
		}
		whole := derp.HeaderLen + n
		if !known(t) {
			l.n.UnknownFrames++
			l.charge(c, n)
			have := min(whole, len(p))
			c.skip = uint32(whole - have)
			p = p[have:]
			continue
		}
		if whole > len(p) {
			c.in = l.q.Blocks.Grow(nil, partRoom(whole, len(p)))
			c.in.Buf = append(c.in.Buf, p...)
			return
		}
		if !l.frame(c, t, p[:whole:whole], nil) {
			return
		}
		p = p[whole:]
	}
}

// completeFrame appends p to the frame that began earlier and handles it when it is whole.
// It returns what is behind it, and false when there is nothing to go on with.
func (l *loop) completeFrame(c *conn, p []byte) (rest []byte, ok bool) {
	if have := len(c.in.Buf); have < derp.HeaderLen {
		n := min(derp.HeaderLen-have, len(p))
		c.in.Buf = append(c.in.Buf, p[:n]...)
		p = p[n:]
		if have+n < derp.HeaderLen {
			return nil, false
		}
	}
	t, n, _ := derp.Header(c.in.Buf)
	have := len(c.in.Buf)
	if have == derp.HeaderLen { // its length has not been looked at yet
		if !l.checkFrame(c, t, n) {
			return nil, false
		}
		if !known(t) {
			l.n.UnknownFrames++
			l.charge(c, n)
			c.in.Free(&l.q.Blocks)
			c.in = nil
			skip := min(n, len(p))
			c.skip = uint32(n - skip)
			return p[skip:], true
		}
	}
	whole := derp.HeaderLen + n
	take := min(whole-have, len(p))
	if cap(c.in.Buf) < have+take {
		c.in = l.q.Blocks.Grow(c.in, partRoom(whole, have+take))
	}
	c.in.Buf = append(c.in.Buf, p[:take]...)
	p = p[take:]
	if len(c.in.Buf) < whole {
		return nil, false
	}
	b := c.in
	c.in = nil
	return p, l.frame(c, t, b.Buf, b)
}

// checkFrame judges a header; false when the connection is over.
func (l *loop) checkFrame(c *conn, t derp.FrameType, n int) bool {
	err := derp.CheckUnknown(t, n)
	if known(t) {
		err = derp.CheckLen(t, n, derp.FromClient)
	}
	if err != nil {
		l.srv.log.Debug("frame refused", "remote", c.peer(), "key", c.client.key, "error", err)
		l.end(c, EndFrameLength)
		return false
	}
	return true
}

// frame handles one whole frame; false when the connection is over. b, if not nil, is the
// block that holds it, which then belongs to this function; otherwise the frame stays where
// it is until the turn ends.
func (l *loop) frame(c *conn, t derp.FrameType, f []byte, b *block.Block) bool {
	l.charge(c, len(f)-derp.HeaderLen)
	switch {
	case t == derp.FrameSendPacket:
		l.sendPacket(c.client, f, b)
		return true
	case t == derp.FrameForwardPacket && c.client.mesh:
		l.forwardPacket(c, f, b)
		return true
	}
	ok := l.command(c, t, f[derp.HeaderLen:])
	b.Free(&l.q.Blocks)
	return ok
}
