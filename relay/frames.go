package relay

import "derpd/relay/derp"

// known reports whether a server acts on frames of this type behind the login; all others
// are read and discarded.
func known(t derp.FrameType) bool {
	switch t {
	case derp.FrameSendPacket, derp.FramePing, derp.FrameNotePreferred,
		derp.FrameForwardPacket, derp.FrameWatchConns, derp.FrameClosePeer:
		return true
	}
	return false
}

// command handles a whole frame that is no packet; false when the connection is over. Its
// length has been checked.
func (l *loop) command(c *conn, t derp.FrameType, payload []byte) bool {
	switch t {
	case derp.FramePing:
		l.ping(c, payload)
	case derp.FrameNotePreferred:
		l.notePreferred(c.client, payload)
	default: // for holders of the mesh key
		if !c.client.mesh {
			l.end(c, EndNotPermitted)
			return false
		}
		if t == derp.FrameWatchConns {
			l.watch(c.client)
		} else {
			l.closePeer(derp.Key(payload))
		}
	}
	return c.phase != phaseDead
}

// ping answers with the first eight bytes. Only a few answers wait for a peer that does not
// read; the rest are dropped, as upstream drops them.
func (l *loop) ping(c *conn, payload []byte) {
	l.n.GotPing++
	if !l.mayAnswer(c) {
		return
	}
	var f [derp.HeaderLen + derp.PingLen]byte
	l.control(c, derp.AppendPong(f[:0], [derp.PingLen]byte(payload)))
	l.n.SentPong++
}

// mayAnswer counts an answer of the relay's own; false if enough of them wait already for a peer
// that takes nothing. There is no other bound to what such answers would hold.
func (l *loop) mayAnswer(c *conn) bool {
	if c.answers >= answersPending && c.out != nil {
		return false
	}
	c.answers++
	return true
}

func (l *loop) notePreferred(cl *client, payload []byte) {
	home := payload[0] != 0
	if home == cl.home {
		return
	}
	cl.home = home
	moves := &l.n.HomeIn
	if home {
		l.n.Home++
	} else {
		l.n.Home--
		moves = &l.n.HomeOut
	}
	if l.poll.Now()-cl.since > int64(homeSettles) {
		*moves++
	}
}
