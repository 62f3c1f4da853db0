package relay

import (
	"bytes"

	"derpd/relay/derp"
	"derpd/relay/upgrade"
	"derpd/tlsengine"
)

// ahead is what a worker has already done for a client that sends its request, and perhaps its
// login, along with the last flight of the handshake, as Tailscale's do. It saves the login a
// second way to a worker and back, and the answers leave in one send.
type ahead struct {
	plain []byte // of the first records behind the handshake
	err   error  // of the record that ended them, nil if none did

	login  []byte // the ClientInfo found in plain, nil if there is none …
	opened loggedIn
}

// lookAhead opens the records behind a handshake, up to aheadBytesMax, and the login in them. It
// decides nothing: the loop deals with plain as with any other, and asks for opened when it comes
// to the same login. rest is what is not opened.
func (s *Server) lookAhead(tls *tlsengine.Session, b []byte) (a ahead, rest []byte) {
	for len(b) > 0 && len(a.plain) < aheadBytesMax {
		n, err := tlsengine.RecordLen(b)
		if err != nil || n == 0 || n > len(b) {
			break // the loop sees that too
		}
		rec := b[:n:n]
		b = b[n:]
		p, err := tls.Open(rec)
		if err != nil {
			a.err = err
			break
		}
		a.plain = append(a.plain, p...)
	}
	if s.cfg.NoDERP {
		return a, b
	}
	if n := upgrade.HeadLen(a.plain); n > 0 {
		f := a.plain[n:]
		t, size, ok := derp.Header(f)
		if ok && t == derp.FrameClientInfo && size <= len(f)-derp.HeaderLen {
			a.login = f[derp.HeaderLen:][:size:size]
			a.opened = s.openLogin(&login{payload: a.login})
		}
	}
	return a, b
}

// goAhead deals with what a worker has looked at, and with the rest. Ciphertext waits while a
// login is worked on.
func (l *loop) goAhead(c *conn, a *ahead, rest []byte) {
	if c.phase == phaseDead || c.phase == phaseDrain {
		return
	}
	if c.tls.NeedsSend() {
		l.touch(c)
	}
	if len(a.plain) > 0 {
		l.ahead = a
		l.plaintext(c, a.plain)
		l.ahead = nil
	}
	switch {
	case c.phase == phaseDead || c.phase == phaseDrain:
	case a.err != nil:
		l.badRecord(c, a.err)
	case c.login != nil:
		l.stash(c, rest)
	case len(rest) > 0:
		l.records(c, rest)
	}
}

// openedAhead returns what opening a login has given already.
func (l *loop) openedAhead(payload []byte) (r loggedIn, ok bool) {
	if l.ahead == nil || l.ahead.login == nil || !bytes.Equal(l.ahead.login, payload) {
		return loggedIn{}, false
	}
	return l.ahead.opened, true
}
