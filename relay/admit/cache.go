package admit

import "time"

// cache keeps answers for a fixed time, and at most so many: beyond that the oldest goes. It
// is guarded by the Checker's mutex. A subject that is in it is not put again before it is
// out, because get answers for it meanwhile.
type cache struct {
	ttl     time.Duration // 0 is off
	max     int
	reasons map[subject]Reason
	order   []expiry // of all in reasons, oldest first
}

type expiry struct {
	subject
	at time.Time
}

func newCache(ttl time.Duration, max int) cache {
	return cache{ttl: ttl, max: max, reasons: map[subject]Reason{}}
}

func (c *cache) get(s subject, now time.Time) (Reason, bool) {
	c.expire(now)
	why, ok := c.reasons[s]
	return why, ok
}

func (c *cache) put(s subject, why Reason, now time.Time) {
	if c.ttl == 0 {
		return
	}
	c.expire(now)
	if _, ok := c.reasons[s]; ok {
		return
	}
	if len(c.order) >= c.max {
		c.drop()
	}
	c.reasons[s] = why
	c.order = append(c.order, expiry{s, now.Add(c.ttl)})
}

func (c *cache) expire(now time.Time) {
	for len(c.order) > 0 && !now.Before(c.order[0].at) {
		c.drop()
	}
}

func (c *cache) drop() {
	delete(c.reasons, c.order[0].subject)
	if c.order = c.order[1:]; len(c.order) == 0 {
		// Give back what a storm took: a map never shrinks.
		c.order, c.reasons = nil, map[subject]Reason{}
	}
}
