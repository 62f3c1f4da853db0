package relay

import (
	"time"

	"derpd/netpoll"
	"derpd/relay/derp"
)

// keepAlivePause is the time to the next keepalive: 60 s and up to 5 s of jitter, drawn
// anew each time so that clients that logged in together drift apart.
func (l *loop) keepAlivePause() int64 {
	return int64(keepAliveEvery) + l.rng.Int64N(int64(keepAliveJitter))
}

// Timeout implements netpoll.Handler.
func (l *loop) Timeout(h netpoll.Handle) {
	c := l.at(h)
	if c == nil {
		return
	}
	switch c.phase {
	case phaseHello, phaseHandshake:
		l.end(c, EndHandshakeTimeout)
	case phaseRequest:
		l.end(c, EndRequestTimeout)
	case phaseLogin:
		l.end(c, EndLoginTimeout)
	case phaseDrain:
		l.end(c, c.drainWhy)
	case phaseConnect, phaseLinkHead, phaseLinkKey:
		l.endLink(c, "no answer within "+meshDialTimeout.String())
	case phaseLink:
		l.linkBeat(c)
	case phaseOpen:
		l.beat(c)
	}
}

// awake notes traffic. The first after a silence brings the next look forward, unless the timer is
// needed for something sooner; ciphers would wait for the next keepalive otherwise.
func (l *loop) awake(c *conn) {
	if c.active {
		return
	}
	c.active = true
	if c.phase != phaseOpen || c.fresh || c.keepAt-l.poll.Now() <= int64(idleAfter) {
		return
	}
	if p := c.client.paced; p == nil || p.resumeAt == 0 {
		l.poll.SetTimeout(c.h, idleAfter)
	}
}

// beat sends the keepalive that is due and drops the AES key schedules of a connection that
// has been silent since the last look, or has just logged in. The next look is soon after
// traffic, else with the next keepalive.
func (l *loop) beat(c *conn) {
	now := l.poll.Now()
	if p := c.client.paced; p != nil && p.resumeAt != 0 {
		l.mayResume(c, now)
	}
	if now >= c.keepAt {
		if c.out == nil { // else what waits shows that we live, if it is taken
			l.n.KeepAlives++
			var f [derp.HeaderLen]byte
			l.control(c, derp.AppendKeepAlive(f[:0]))
		}
		c.keepAt = now + l.keepAlivePause()
		l.n.RoundTrips.observe(l.poll.RoundTrip(c.h))
	}
	next := time.Duration(c.keepAt - now)
	busy := c.active || c.spared
	if c.tls != nil && (!busy || c.fresh) {
		if c.dirty { // seal the keepalive first
			l.flush(c)
		}
		c.tls.DropCiphers()
	}
	c.spared = c.active && next < idleAfter
	c.active, c.fresh = false, false
	if busy {
		next = min(next, idleAfter)
	}
	if p := c.client.paced; p != nil && p.resumeAt != 0 {
		next = min(next, time.Duration(p.resumeAt-now)-rateSlack, rateLookEvery)
	}
	l.poll.SetTimeout(c.h, max(next, time.Millisecond))
}

// linkBeat ends a link whose login has no answer, or that has been silent, whatever we send there:
// the other node's keepalives come every minute.
func (l *loop) linkBeat(c *conn) {
	switch {
	case !c.link.up:
		l.endLink(c, "no answer within "+meshDialTimeout.String())
		return
	case !c.link.heard:
		l.endLink(c, "silent for "+meshSilence.String())
		return
	}
	c.link.heard = false
	l.poll.SetTimeout(c.h, meshSilence)
}
