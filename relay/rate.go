package relay

import "derpd/relay/ratelimit"

// paced is the book of a client that a rate applies to.
type paced struct {
	bucket   ratelimit.Bucket
	resumeAt int64 // receiving is paused until then; 0: it is not
}

// charge takes a received frame from its client's rate. A client that has used it up is not
// read until it has tokens again: TCP holds it back, nothing is dropped.
func (l *loop) charge(c *conn, n int) {
	lim := l.srv.rate.Load()
	if lim == nil || lim.BytesPerSec == 0 || c.client.mesh {
		return
	}
	p := c.client.paced
	if p == nil {
		p = new(paced)
		c.client.paced = p
	}
	wait := p.bucket.Take(l.poll.Now(), lim, n)
	if wait <= rateSlack {
		return
	}
	if p.resumeAt == 0 {
		l.n.RateWaits++
		l.poll.PauseReceive(c.h)
	}
	p.resumeAt = l.poll.Now() + int64(wait)
	l.poll.SetTimeout(c.h, min(wait-rateSlack, rateLookEvery))
}

// mayResume reads on if the pause is over; new limits may have shortened it.
func (l *loop) mayResume(c *conn, now int64) {
	p := c.client.paced
	lim := l.srv.rate.Load()
	if lim == nil {
		lim = &ratelimit.Limits{}
	}
	if wait := p.bucket.Take(now, lim, 0); wait > rateSlack {
		p.resumeAt = now + int64(wait)
		return
	}
	p.resumeAt = 0
	l.poll.ResumeReceive(c.h)
}
