package engine

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"derpd/loadgen"
	"derpd/netpoll"
	"derpd/relay/derp"
	"derpd/tlsengine"
)

// beginLogins connects clients as far as the bounds on logins allow.
func (l *loop) beginLogins(now int64) {
	for len(l.again) > 0 && l.again[0].at <= now {
		l.waiting = append(l.waiting, l.again[0].client)
		l.again = slices.Delete(l.again, 0, 1)
	}
	l.credit = min(l.credit+l.loginsPerSec()*time.Duration(now-l.creditAt).Seconds(),
		float64(l.e.loginsPerLoop))
	l.creditAt = now
	for len(l.waiting) > 0 && l.logins < l.e.loginsPerLoop {
		if l.e.opt.PerSec > 0 {
			if l.credit < 1 {
				return
			}
			l.credit--
		}
		last := len(l.waiting) - 1
		c := &l.e.clients[l.waiting[last]]
		l.waiting = l.waiting[:last]
		l.connect(c)
		l.active = true
	}
}

// loginsPerSec is this loop's part of a bounded rate of logins; 0: not bounded.
func (l *loop) loginsPerSec() float64 {
	return l.e.opt.PerSec * float64(len(l.own)) / float64(len(l.e.clients))
}

func (l *loop) connect(c *client) {
	at := &l.e.clientsAt[c.index]
	var local netip.AddrPort
	if at.source >= 0 {
		local = netip.AddrPortFrom(l.e.sources[at.source], 0)
	}
	c.began = netpoll.Clock()
	c.tries++
	l.logins++
	l.began++
	h, err := l.poll.Connect(local, l.e.job.Targets[at.target].Addr)
	if err != nil {
		l.logins--
		l.fail(loadgen.FailLocal, err.Error())
		l.lost(c)
		return
	}
	for h.Slot() >= len(l.at) {
		l.at = append(l.at, 0)
	}
	l.at[h.Slot()] = c.index + 1
	c.h, c.phase = h, phaseDial
	l.poll.SetTimeout(h, l.e.opt.LoginFor)
}

// Connected implements netpoll.Handler.
func (l *loop) Connected(h netpoll.Handle, err error) {
	c := l.client(h)
	if c == nil {
		return
	}
	l.active = true
	if err != nil {
		class, text := connectFailure(err), ""
		if !errors.Is(err, netpoll.ErrClosed) && !errors.Is(err, netpoll.ErrStopped) {
			text = "connect to " + l.e.target(c.index).Addr.String() + ": " + err.Error()
			l.fail(class, text)
		}
		l.closed(c)
		return
	}
	if l.e.target(c.index).Plain {
		c.phase = phaseUpgrade
		l.raw(c, l.e.upgrade(c.index, false))
		return
	}
	c.phase = phaseHandshake
	c.shake = &shake{l: l, c: c.index, key: c.key}
	c.shake.feed(l.e, nil)
}

func connectFailure(err error) loadgen.Failure {
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return loadgen.FailRefused
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EMFILE),
		errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EADDRINUSE):
		return loadgen.FailLocal
	case errors.Is(err, unix.ECONNRESET):
		return loadgen.FailLogin
	}
	return loadgen.FailUnreach
}

// drop ends a connection because of a failure.
func (l *loop) drop(c *client, class loadgen.Failure, example string) {
	l.fail(class, example)
	c.leaves = true // told already
	l.poll.Reset(c.h)
}

// farEnd is the relay's FIN.
func (l *loop) farEnd(c *client) {
	switch {
	case c.leaves:
	case c.phase == phaseOpen:
		l.fail(loadgen.FailClosed, "the relay ended the connection")
	case c.phase == phaseHandshake:
		l.fail(loadgen.FailTLS, "the relay ended the connection in the TLS handshake")
	default:
		l.fail(loadgen.FailLogin, "the relay ended the connection before it answered the login")
	}
	c.leaves = true
	l.poll.Close(c.h)
}

// Closed implements netpoll.Handler.
func (l *loop) Closed(h netpoll.Handle, err error) {
	c := l.client(h)
	if c == nil {
		return
	}
	l.active = true
	if !c.leaves && err != nil && !errors.Is(err, netpoll.ErrStopped) {
		class := loadgen.FailReset
		if c.phase != phaseOpen {
			class = loadgen.FailLogin
		}
		l.fail(class, err.Error())
	}
	l.closed(c)
}

// closed forgets the connection of a client and lets it come back.
func (l *loop) closed(c *client) {
	l.at[c.h.Slot()] = 0
	if c.phase == phaseOpen {
		l.open--
	} else {
		l.logins--
	}
	if c.shake != nil {
		c.shake.end(l.e)
	}
	if c.asked {
		c.asked = false
		l.pinging--
	}
	if c.out != nil {
		l.cut(c.out)
	}
	for _, f := range l.e.incoming[c.index] {
		l.e.receiving[f].cut = true
	}
	l.unstash(c)
	l.unhead(c)
	c.tls.Wipe()
	c.h, c.phase = 0, phaseOut
	c.skip, c.sending, c.ctl, c.shake, c.login, c.ws, c.skim = 0, false, nil, nil, nil, nil, nil
	c.slow = nil // a login is not for slow reading; whoever comes back reads slowly from then on
	c.leaves, c.upgraded = false, false
	l.lost(c)
}

// lost lets a client that is out try again: at once if it has not failed often, else never; during
// a step after a while, as a device does.
func (l *loop) lost(c *client) {
	switch {
	case l.e.closing.Load():
	case c.tries >= loginTries && l.run == nil:
		c.phase = phaseGone
	case l.run != nil && c.tries > 0:
		l.again = append(l.again, retry{c.index, l.poll.Now() + int64(retryAfter)})
	default:
		l.waiting = append(l.waiting, c.index)
	}
}

// opened is a login that has succeeded.
func (l *loop) opened(c *client) {
	l.poll.SetTimeout(c.h, 0)
	c.phase, c.tries, c.login = phaseOpen, 0, nil
	l.logins--
	l.open++
	l.ended++
	l.login.Record(time.Duration(netpoll.Clock() - c.began))
	at := &l.e.clientsAt[c.index]
	if at.group < 0 || !at.reader && !l.e.job.Workload.Groups[at.group].BothWays {
		if c.out == nil {
			c.tls.DropCiphers() // it will say and hear little
		}
	} else if k, ok := c.tls.Skimmer(); ok && l.e.opt.Sampled > 1 && c.ws == nil {
		c.skim = &k
	}
	if c.away {
		c.away = false
		l.e.returned(netpoll.Clock())
	}
	if l.run != nil {
		if c.out != nil {
			l.startSender(c.out)
		}
		l.startReading(c)
	}
}

// shook continues on the loop after a step of the handshake.
func (l *loop) shook(s *shake, r shaken) {
	c := &l.e.clients[s.c]
	if c.shake != s {
		if r.tls != nil {
			r.tls.Wipe()
		}
		return
	}
	l.active = true
	if r.err != nil {
		c.shake = nil
		l.drop(c, loadgen.FailTLS, r.err.Error())
		return
	}
	if r.tls == nil {
		l.raw(c, r.out)
		return
	}
	c.shake = nil
	c.tls = *r.tls
	r.tls.Wipe()
	c.phase = phaseUpgrade
	out := r.out
	if r.flight != nil { // request and login in one
		c.phase, c.login, c.upgraded = phaseLogin, &r.shared, true
		out = l.sealed(c, out, r.flight)
	} else {
		out = l.sealed(c, out, l.e.upgrade(c.index, false))
	}
	l.raw(c, out)
	if len(r.rest) > 0 {
		l.records(c, r.rest)
	}
}

// greeted is the relay's key, in its first frame: the login answers it.
func (l *loop) greeted(c *client, server derp.Key) {
	if c.phase != phaseUpgrade {
		return
	}
	c.phase = phaseLogin
	h := c.h
	index, generation := c.index, c.key
	l.e.workers.do(func() {
		frame, shared, err := l.e.loginFrame(nil, index, generation, server)
		l.e.workers.wakes.Leave(l.id, func() {
			c := &l.e.clients[index]
			if c.h != h {
				return
			}
			if err != nil {
				l.drop(c, loadgen.FailProtocol, err.Error())
				return
			}
			c.login = &shared
			l.control(c, frame)
		})
	})
}

// sealed appends plaintext as records, or as it is without TLS.
func (l *loop) sealed(c *client, dst, plain []byte) []byte {
	if c.tls.Version() == 0 {
		return append(dst, plain...)
	}
	for len(plain) > 0 {
		n := min(len(plain), tlsengine.MaxPlaintext)
		start := len(dst)
		dst = c.tls.SealStart(dst)
		dst = append(dst, plain[:n]...)
		dst = c.tls.SealFinish(dst, start)
		plain = plain[n:]
	}
	return dst
}

// raw sends bytes of a login, which are few: nothing else is under way then.
func (l *loop) raw(c *client, b []byte) {
	if len(b) == 0 {
		return
	}
	if c.sending {
		l.drop(c, loadgen.FailProtocol, "the relay does not take the bytes of a login")
		return
	}
	if !l.poll.Send(c.h, slices.Clone(b)) {
		c.sending = true
	}
}

// control sends plaintext of our own as soon as nothing else is under way.
func (l *loop) control(c *client, plain []byte) {
	c.ctl = append(c.ctl, plain...)
	if !c.sending && (c.out == nil || c.out.empty()) {
		l.flushControl(c)
	}
}

func (l *loop) flushControl(c *client) {
	if len(c.ctl) == 0 {
		return
	}
	b := l.message(c, nil, c.ctl)
	c.ctl = nil
	if !l.poll.Send(c.h, b) {
		c.sending = true
	}
}
