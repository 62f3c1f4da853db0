package relay

import (
	"crypto/tls"
	"net"
	"sync"

	"derpd/netpoll"
	"derpd/tlsengine"
)

// handshake is the work of one TLS handshake. The loop puts bytes in; one worker at a time
// takes them, steps the coroutine and posts what comes out. A stalled peer costs memory,
// not a worker.
type handshake struct {
	srv   *Server
	h     netpoll.Handle
	start func() (Handshaker, error) // makes it, on a worker

	accepted bool // the peer has dialled us

	// Below: the loop's, of those that peers began.
	prev, next *handshake // in shaking
	since      int64      // when it began

	mu     sync.Mutex
	in     []byte // fed by the loop, not taken by a worker yet
	queued bool   // a worker has it or will
	full   bool   // the peer is held back until the loop is told of the next step
	ended  bool   // the connection is gone: stop the coroutine
	freed  bool   // and its place has been given back

	// Below: the worker's, which queued hands from one to the next.
	hs Handshaker
}

// handshakeBytes takes bytes of a connection in the phases hello and handshake.
func (l *loop) handshakeBytes(c *conn, b []byte) {
	if c.phase == phaseHandshake {
		full, why := c.hs.feed(b)
		switch {
		case why != EndNone:
			l.end(c, why)
		case full:
			c.paused = true
			l.poll.PauseReceive(c.h)
		}
		return
	}
	have := 0
	if c.raw != nil {
		have = len(c.raw.Buf)
	}
	if have+len(b) > preLoginBytesMax {
		l.end(c, EndHandshakeBytes)
		return
	}
	c.raw = l.q.Blocks.Grow(c.raw, have+len(b))
	c.raw.Buf = append(c.raw.Buf, b...)
	hello := c.raw.Buf
	n, ok := helloLen(hello)
	if !ok {
		l.end(c, EndNotTLS)
		return
	}
	if n == 0 || n > len(hello) {
		return
	}
	l.beginHandshake(c, hello)
	c.raw.Free(&l.q.Blocks)
	c.raw = nil
}

// helloLen returns the length of the record that opens a connection, 0 if its header is
// not whole. It must be a handshake record; its version may be that of any SSL 3 or TLS
// (RFC 8446 §5.1: 0x0301 "for compatibility purposes").
func helloLen(b []byte) (n int, ok bool) {
	const handshake, majorVersion = 22, 3
	if b[0] != handshake || len(b) > 1 && b[1] != majorVersion {
		return 0, false
	}
	if len(b) < tlsHeaderLen {
		return 0, true
	}
	n = tlsHeaderLen + int(b[3])<<8 + int(b[4])
	return n, n > tlsHeaderLen && n <= helloBytesMax
}

func (l *loop) beginHandshake(c *conn, hello []byte) {
	s := l.srv
	if s.shared.handshakes.Add(1) > int64(s.cfg.MaxHandshakes) && !l.dropStalled() {
		s.shared.handshakes.Add(-1)
		l.end(c, EndHandshakeCap)
		return
	}
	hs := &handshake{srv: s, h: c.h, accepted: true, since: l.poll.Now()}
	l.shaking.push(hs)
	var local net.Addr
	remote := net.TCPAddrFromAddrPort(c.remote)
	if a, err := l.poll.LocalAddr(c.h); err == nil {
		local = net.TCPAddrFromAddrPort(a)
	}
	hs.start = func() (Handshaker, error) { return s.cfg.NewHandshake(local, remote), nil }
	c.hs = hs
	c.phase = phaseHandshake
	l.n.InHandshake++
	if _, why := hs.feed(hello); why != EndNone {
		l.end(c, why)
	}
}

// beginClientHandshake starts TLS on a connection that we dialled: a worker makes the first
// flight.
func (l *loop) beginClientHandshake(c *conn, name string) {
	s := l.srv
	s.shared.handshakes.Add(1)
	hs := &handshake{srv: s, h: c.h}
	hs.start = func() (Handshaker, error) { return s.cfg.Mesh.NewHandshake(name) }
	c.hs = hs
	l.n.InHandshake++
	hs.mu.Lock()
	ok := hs.schedule()
	hs.mu.Unlock()
	if !ok {
		l.end(c, EndHandshakeCap)
	}
}

// feed hands bytes to the handshake; why is EndNone, or that the peer sends more than one can need
// or that there is no room for more work.
// full: so much waits that the peer must be held back. A client may send all it likes behind
// its last flight, and what a handshake leaves over must fit into preLoginBytesMax.
func (hs *handshake) feed(b []byte) (full bool, why Reason) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if len(hs.in)+len(b) > handshakeBytesMax {
		return false, EndHandshakeBytes
	}
	hs.in = append(hs.in, b...)
	hs.full = len(hs.in) > preLoginReceive
	if !hs.schedule() {
		return false, EndHandshakeCap
	}
	return hs.full, EndNone
}

// schedule has a worker run the handshake unless one will. Under mu.
func (hs *handshake) schedule() bool {
	if hs.queued {
		return true
	}
	hs.queued = hs.srv.submit(hs.run)
	return hs.queued
}

// run is a worker's turn: all bytes there are, one step.
func (hs *handshake) run() {
	hs.mu.Lock()
	in, full := hs.in, hs.full
	hs.in, hs.full = nil, false
	ended, freed := hs.ended, hs.freed
	hs.mu.Unlock()
	if ended {
		hs.stop(freed)
		return // queued stays true: never run again
	}
	r := hs.step(in)
	over := r.tls != nil || r.err != nil
	if over || full || len(r.out) > 0 { // told before another worker can take the next step
		l := hs.srv.loops[hs.h.Loop()]
		hs.srv.wakes.Leave(l.number, func() { l.handshakeStepped(hs, r) })
	}
	if over {
		hs.srv.shared.handshakes.Add(-1) // queued stays true: it never runs again
		return
	}
	hs.mu.Lock()
	ended, freed = hs.ended, hs.freed
	hs.queued = ended
	refused := !ended && len(hs.in) > 0 && !hs.schedule()
	hs.mu.Unlock()
	switch {
	case ended: // meanwhile
		hs.stop(freed)
	case refused: // nobody would look at what has come
		l := hs.srv.loops[hs.h.Loop()]
		hs.srv.wakes.Leave(l.number, func() {
			if c := l.at(hs.h); c != nil && c.hs == hs {
				l.end(c, EndHandshakeCap)
			}
		})
	}
}

// stop ends the coroutine of a connection that is gone, and gives its place back.
func (hs *handshake) stop(freed bool) {
	if hs.hs != nil {
		hs.hs.Stop()
	}
	if !freed {
		hs.srv.shared.handshakes.Add(-1)
	}
}

// step feeds the coroutine once and takes the session out when it is done.
func (hs *handshake) step(in []byte) (r stepped) {
	if hs.hs == nil {
		if hs.hs, r.err = hs.start(); r.err != nil {
			return r
		}
	}
	out, done, err := hs.hs.Step(in)
	r.out, r.err = append([]byte(nil), out...), err
	switch {
	case err != nil:
		hs.hs.Stop()
	case done:
		r.tls = new(tlsengine.Session)
		r.rest, r.state, r.err = hs.hs.Finish(r.tls)
		if r.err != nil {
			r.tls = nil
		} else if hs.accepted {
			r.ahead, r.rest = hs.srv.lookAhead(r.tls, r.rest)
		}
	}
	return r
}

// stepped is what one step of a handshake gave.
type stepped struct {
	out   []byte
	tls   *tlsengine.Session // set when done
	ahead ahead              // what a client sends right behind it, opened …
	rest  []byte             // … and further bytes, ciphertext
	state tls.ConnectionState
	err   error
}

// handshakeStepped continues on the loop after a worker's turn.
func (l *loop) handshakeStepped(hs *handshake, r stepped) {
	c := l.at(hs.h)
	if c == nil || c.hs != hs {
		if r.tls != nil {
			r.tls.Wipe()
		}
		return
	}
	hs.mu.Lock()
	behind, full := hs.in, hs.full // what was fed behind the step's back
	hs.mu.Unlock()
	if c.paused && (!full || r.tls != nil) {
		c.paused = false
		l.poll.ResumeReceive(c.h)
	}
	if len(r.out) > 0 {
		l.control(c, r.out)
	}
	switch {
	case r.err != nil:
		l.n.HandshakesFailed++
		l.srv.log.Debug("handshake failed", "remote", c.remote, "error", r.err)
		l.endHandshake(c)
		if c.link != nil {
			c.link.failedWith = "TLS: " + r.err.Error()
			l.drain(c, EndMesh) // the other node's log may need our alert: it has to leave
			return
		}
		l.drain(c, EndHandshakeFailed)
	case r.tls != nil:
		l.n.Handshakes++
		l.n.TLS[versionIndex(r.tls)]++
		rest := append(r.rest, behind...)
		l.endHandshake(c)
		if c.ctl != nil { // the last flight leaves as it is, ahead of our first record
			c.unsealed = uint32(len(c.ctl.Buf))
		}
		c.tls = r.tls
		if c.link != nil {
			l.linkRequest(c)
		} else {
			c.served = true
			l.n.TLSNow[versionIndex(r.tls)]++
			state := r.state // alone: a pointer into r would keep all that the client sent ahead
			c.state = &state
			c.phase = phaseRequest
			l.poll.SetTimeout(c.h, requestTimeout)
		}
		l.goAhead(c, &r.ahead, rest)
	}
}

// endHandshake forgets a handshake that is over.
func (l *loop) endHandshake(c *conn) {
	if c.hs.accepted {
		l.shaking.remove(c.hs)
	}
	c.hs = nil
	l.n.InHandshake--
}

// dropHandshake has a worker stop the handshake of a connection that has ended; a loop cannot,
// since a coroutine's threads are to be like each other. If it waits for its peer its place is free
// at once.
func (l *loop) dropHandshake(c *conn) {
	hs := c.hs
	l.endHandshake(c)
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.ended = true
	if hs.queued {
		return
	}
	hs.freed = true
	hs.srv.shared.handshakes.Add(-1)
	if !hs.schedule() {
		hs.queued = true
		go hs.run() // it only stops the coroutine
	}
}

// idle tells whether the handshake waits for its peer.
func (hs *handshake) idle() bool {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return !hs.queued
}

// versionIndex is where a session's TLS version is counted.
func versionIndex(s *tlsengine.Session) int {
	if s.Version() == tls.VersionTLS13 {
		return 1
	}
	return 0
}
