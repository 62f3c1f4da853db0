package relay

import (
	"crypto/rand"
	"math"

	"derpd/netpoll"
	"derpd/relay/admit"
	"derpd/relay/block"
	"derpd/relay/derp"
)

// login is a ClientInfo that a worker is opening. The loop compares the pointer: a result
// for a connection that has ended, or begun another login, is ignored.
type login struct {
	payload []byte
}

// loggedIn is what opening it gave.
type loggedIn struct {
	key   derp.Key
	info  derp.ClientInfo
	reply []byte // the ServerInfo frame
	err   error
}

// loginBytes collects the ClientInfo frame, as it arrives: nothing is allocated for what a
// stranger announces.
func (l *loop) loginBytes(c *conn, p []byte) {
	if c.login != nil { // only with WebSocket: messages behind the one with the ClientInfo
		l.stashIn(c, &c.in, p)
		return
	}
	if !l.collect(c, p) {
		return
	}
	t, n, ok := derp.Header(c.in.Buf)
	if !ok {
		return
	}
	if t != derp.FrameClientInfo || derp.CheckLen(t, n, derp.FromClient) != nil {
		l.end(c, EndLoginFrame)
		return
	}
	whole := derp.HeaderLen + n
	if len(c.in.Buf) < whole {
		return
	}
	b := c.in
	c.in = nil
	lg := &login{payload: append([]byte(nil), b.Buf[derp.HeaderLen:whole]...)}
	c.login = lg
	if rest := b.Buf[whole:]; len(rest) > 0 {
		c.in = l.q.Blocks.Grow(nil, len(rest))
		c.in.Buf = append(c.in.Buf, rest...)
	}
	b.Free(&l.q.Blocks)
	l.returnBudget(c)
	c.paused = true
	l.poll.PauseReceive(c.h)
	h, s := c.h, l.srv
	if r, ok := l.openedAhead(lg.payload); ok {
		l.loginOpened(h, lg, r)
		return
	}
	if !s.submitLogin(func() {
		r := s.openLogin(lg)
		s.wakes.Leave(l.number, func() { l.loginOpened(h, lg, r) })
	}) {
		l.end(c, EndHandshakeCap)
	}
}

// collect appends to c.in within the bounds; false when the connection is over. A block is
// as long as what has come; beyond preLoginBytesMax it draws on the global budget.
func (l *loop) collect(c *conn, p []byte) bool {
	have := 0
	if c.in != nil {
		have = len(c.in.Buf)
	}
	need := have + len(p)
	if need > preLoginBytesMax {
		if c.in == nil || need > derp.HeaderLen+derp.MaxClientInfo+preLoginBytesMax {
			l.end(c, EndPreLoginBytes)
			return false
		}
		more := need - preLoginBytesMax - int(c.budget)
		if l.srv.shared.preLogin.Add(int64(more)) > l.srv.cfg.PreLoginBudget {
			l.srv.shared.preLogin.Add(-int64(more))
			l.end(c, EndPreLoginBudget)
			return false
		}
		c.budget += int32(more)
	}
	c.in = l.q.Blocks.Grow(c.in, need)
	c.in.Buf = append(c.in.Buf, p...)
	return true
}

// stash keeps bytes that arrived behind a ClientInfo while it is being opened: ciphertext
// on TLS connections, in order behind what the record gave.
func (l *loop) stash(c *conn, b []byte) {
	if len(b) == 0 {
		return
	}
	if c.tls == nil {
		l.stashIn(c, &c.in, b)
		return
	}
	l.stashIn(c, &c.raw, b)
}

func (l *loop) stashIn(c *conn, dst **block.Block, b []byte) {
	have := 0
	if *dst != nil {
		have = len((*dst).Buf)
	}
	if have+len(b) > preLoginBytesMax {
		l.end(c, EndPreLoginBytes)
		return
	}
	*dst = l.q.Blocks.Grow(*dst, have+len(b))
	(*dst).Buf = append((*dst).Buf, b...)
}

// openLogin opens a ClientInfo and seals the ServerInfo; a worker runs it.
func (s *Server) openLogin(lg *login) (r loggedIn) {
	var shared derp.Shared
	r.key, r.info, shared, r.err = derp.OpenClientInfo(s.cfg.Key, lg.payload)
	if r.err != nil {
		return r
	}
	var nonce [derp.NonceLen]byte
	rand.Read(nonce[:])
	r.reply = shared.AppendServerInfo(nil, derp.ServerInfo{Version: derp.ProtocolVersion}, nonce)
	shared = derp.Shared{}
	return r
}

// loginOpened has the login checked, where that is asked for; mesh peers are exempt.
func (l *loop) loginOpened(h netpoll.Handle, lg *login, r loggedIn) {
	c := l.at(h)
	if c == nil || c.login != lg {
		return
	}
	if r.err != nil {
		c.login = nil
		l.tellRefused("login refused", "remote", c.remote, "error", r.err)
		l.end(c, EndLoginBox)
		return
	}
	mesh := !l.srv.cfg.Mesh.Key.IsZero() && l.srv.cfg.Mesh.Key.Equal(r.info.MeshKey)
	if l.srv.cfg.Admit == nil || mesh {
		l.admitted(c, r, mesh)
		return
	}
	l.poll.SetTimeout(h, admitTimeout)
	req := admit.Request{Key: r.key, Remote: c.remote, AppName: r.info.AppName}
	if !l.srv.cfg.Admit.Submit(req, func(ok bool, why admit.Reason) {
		l.poll.Post(func() { l.judged(h, lg, r, ok, why) })
	}) {
		l.end(c, EndAdmissionBusy)
	}
}

// judged goes on with a login that has been checked.
func (l *loop) judged(h netpoll.Handle, lg *login, r loggedIn, ok bool, why admit.Reason) {
	c := l.at(h)
	if c == nil || c.login != lg {
		return
	}
	if !ok {
		l.tellRefused("login not admitted", "remote", c.remote, "key", r.key,
			"reason", why.String())
		l.end(c, EndNotAdmitted)
		return
	}
	l.admitted(c, r, false)
}

// admitted registers the client. ServerInfo goes out ahead of any packet, because control
// bytes go ahead of the queue.
func (l *loop) admitted(c *conn, r loggedIn, mesh bool) {
	h := c.h
	c.login = nil
	c.paused = false
	l.poll.ResumeReceive(h)
	l.poll.SetReceiveMax(h, 0)
	c.phase = phaseOpen
	c.keepAt = l.poll.Now() + l.keepAlivePause()
	c.fresh = true
	l.poll.SetTimeout(h, settledAfter)
	cl := &client{sender: sender{key: r.key}, loop: l, h: h, conn: c, remote: c.remote,
		app: r.info.AppName, version: int32(min(r.info.Version, math.MaxInt32)), mesh: mesh,
		since: l.poll.Now()}
	cl.flags = presentFlags(cl.mesh, r.info.IsProber, c.poor)
	if cl.mesh {
		l.poll.SetWriteTimeout(h, meshWriteTimeout)
	}
	c.client = cl
	c.early = &settled
	members := l.join(cl)
	l.n.Logins++
	l.n.Clients++
	if members > 1 {
		l.n.DupConnections++
	}
	if c.poor {
		l.n.Poor++
	}
	l.control(c, r.reply)

	in, raw := c.in, c.raw
	c.in, c.raw = nil, nil
	if in != nil {
		l.lend(in)
		l.frames(c, in.Buf)
	}
	if raw != nil {
		l.lend(raw)
		if c.phase == phaseOpen {
			l.records(c, raw.Buf)
		}
	}
}

// leave takes a client out of the registry and tells who must know.
func (l *loop) leave(c *conn) {
	cl := c.client
	c.client = nil
	var survivor *client
	if !cl.link {
		l.n.Clients--
		if cl.home {
			l.n.Home--
		}
		if c.poor {
			l.n.Poor--
		}
		survivor = l.part(cl)
	}
	if plant != plantLostDrop {
		d := cl.q.Clear(&l.q)
		l.n.drops(DropGoneDisconnected, &d, cl.overhead())
	} else {
		cl.q.Clear(&l.q)
	}
	cl.conn = nil
	l.takeInbox(cl) // what is pushed from now on is dropped when its arrival is seen
	switch {
	case cl.link:
	case survivor == nil && cl.route.Via() != nil:
		l.linger(&cl.sender) // it lives on, on another node
	default:
		l.depart(&cl.sender, survivor)
		if survivor == nil && !l.srv.cfg.Mesh.Key.IsZero() {
			l.srv.regionGone(cl.key)
		}
	}
}
