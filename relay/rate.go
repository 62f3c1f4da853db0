package relay

import "derpd/relay/ratelimit"

// charge takes a received frame from its client's rate. A client that has used it up is not
// read until it has tokens again: TCP holds it back, nothing is dropped.
func (l *loop) charge(c *conn, n int) {
	lim := l.srv.rate.Load()
	if lim == nil || lim.BytesPerSec == 0 || c.client.mesh {
		return
	}
	wait := c.client.rate.Take(l.poll.Now(), lim, n)
	if wait <= rateSlack {
		return
	}
	if c.client.resumeAt == 0 {
		l.n.RateWaits++
		l.poll.PauseReceive(c.h)
	}
	c.client.resumeAt = l.poll.Now() + int64(wait)
	l.poll.SetTimeout(c.h, min(wait-rateSlack, rateLookEvery))
}

// mayResume reads on if the pause is over; new limits may have shortened it.
func (l *loop) mayResume(c *conn, now int64) {
	lim := l.srv.rate.Load()
	if lim == nil {
		lim = &ratelimit.Limits{}
	}
	if wait := c.client.rate.Take(now, lim, 0); wait > rateSlack {
		c.client.resumeAt = now + int64(wait)
		return
	}
	c.client.resumeAt = 0
	l.poll.ResumeReceive(c.h)
}
