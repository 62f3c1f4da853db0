package admit

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"

	"derpd/relay/derp"
)

// Checker decides on logins. All its methods may be called from any goroutine, but Close and
// Check not from a done function.
type Checker struct {
	cfg  Config // complete
	apps map[string]bool
	// Both are nil if not configured.
	tailscaled, url *backend

	now    func() time.Time // a clock that never steps back
	ctx    context.Context  // of all that is asked; ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup // goroutines of the Checker

	mu      sync.Mutex // guards what follows; never held while anything is asked or told
	closed  bool
	flights map[subject]*flight // being asked for, or in queue
	queue   []*flight           // those that wait for their turn, oldest first
	workers int                 // at most MaxConcurrent; all of them while queue is not empty
	waiting int                 // done functions that have not returned yet
	allowed cache
	refused cache
	stats   Stats
}

// subject is what an answer depends on.
type subject struct {
	key    derp.Key
	source netip.Addr // the client's; zero if there is no URL to tell
}

// flight is one check, for all logins that wait for it.
type flight struct {
	subject
	queued time.Time // when it began to wait for its turn; zero if it had not to
	done   []func(bool, Reason)
}

// Stats counts answers. Answers are indexed by Reason.
type Stats struct {
	Answers [reasonCount]uint64
	Cached  uint64 // of them, from the cache
	Joined  uint64 // of them, from a check that another login had begun

	Waiting int // logins without an answer now
	Asking  int // checks under way

	TailscaledLost, URLLost bool // several attempts in a row did not reach it
}

// New checks the configuration. Nothing is asked before the first login.
func New(cfg Config) (*Checker, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	c := &Checker{
		cfg:     cfg,
		apps:    map[string]bool{},
		now:     time.Now,
		flights: map[subject]*flight{},
		allowed: newCache(cfg.CacheFor, allowedMax),
		refused: newCache(min(cfg.CacheFor, refusedForMax), refusedMax),
	}
	for _, name := range cfg.DisallowAppNames {
		c.apps[strings.TrimSpace(name)] = true
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if cfg.Tailscaled {
		c.tailscaled = newTailscaled(&c.cfg)
	}
	if cfg.URL != "" {
		c.url = newURL(&c.cfg)
	}
	return c, nil
}

// Submit asks whether a login is admitted. done is called exactly once with the answer, on a
// goroutine of the Checker, which it must not hold up: it should post the answer and return.
// false means that done will not be called: too many wait (Busy), or the Checker is closed.
func (c *Checker) Submit(r Request, done func(allowed bool, why Reason)) bool {
	s := subject{key: r.Key}
	if c.url != nil {
		s.source = r.Remote.Addr().Unmap()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		c.stats.Answers[Closed]++
		return false
	}
	if c.waiting >= c.cfg.MaxConcurrent+c.cfg.MaxWaiting {
		c.stats.Answers[Busy]++
		return false
	}
	c.waiting++
	if why, ok := c.known(s, r.AppName); ok {
		c.tasks.Go(func() { c.answer([]func(bool, Reason){done}, why) })
		return true
	}
	if f := c.flights[s]; f != nil {
		c.stats.Joined++
		f.done = append(f.done, done)
		return true
	}
	f := &flight{subject: s, done: []func(bool, Reason){done}}
	c.flights[s] = f
	if c.workers == c.cfg.MaxConcurrent {
		f.queued = c.now()
		c.queue = append(c.queue, f)
		return true
	}
	c.workers++
	c.tasks.Go(func() { c.work(f) })
	return true
}

// known returns the answer if nobody needs to be asked. It is called with c.mu held.
func (c *Checker) known(s subject, appName string) (why Reason, ok bool) {
	switch {
	case c.apps[appName]:
		return DeniedAppName, true
	case c.tailscaled == nil && c.url == nil:
		return Allowed, true
	}
	now := c.now()
	if why, ok = c.allowed.get(s, now); !ok {
		why, ok = c.refused.get(s, now)
	}
	if ok {
		c.stats.Cached++
	}
	return why, ok
}

// Check is Submit for callers that may wait. It returns Timeout when ctx ends first; the
// check goes on for others, and for the cache.
func (c *Checker) Check(ctx context.Context, r Request) (allowed bool, why Reason) {
	answer := make(chan Reason, 1)
	if !c.Submit(r, func(_ bool, why Reason) { answer <- why }) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.closed {
			return false, Closed
		}
		return false, Busy
	}
	select {
	case why = <-answer:
		return why.Allows(), why
	case <-ctx.Done():
		return false, Timeout
	}
}

// work asks for f, and then for what waits.
func (c *Checker) work(f *flight) {
	for f != nil {
		why := c.ask(f)
		c.answer(c.land(f, why), why)
		f = c.next()
	}
}

// ask is steps 3 and 4 of a check.
func (c *Checker) ask(f *flight) Reason {
	why := Allowed
	if !f.queued.IsZero() && c.now().Sub(f.queued) > c.cfg.Timeout {
		why = Timeout
	}
	for _, b := range []*backend{c.tailscaled, c.url} {
		if b != nil && why == Allowed {
			why = b.check(c.ctx, f.subject)
		}
	}
	if c.ctx.Err() != nil {
		return Closed // whatever a cancelled request looked like, fail-open included
	}
	return why
}

// land ends a flight and returns who waits for it. From now on the cache answers, if anyone.
func (c *Checker) land(f *flight, why Reason) []func(bool, Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.flights, f.subject)
	switch why {
	case Allowed:
		c.allowed.put(f.subject, why, c.now())
	case DeniedByTailscaled, DeniedByURL:
		c.refused.put(f.subject, why, c.now())
	}
	return f.done
}

// answer tells all who waited.
func (c *Checker) answer(done []func(bool, Reason), why Reason) {
	for _, tell := range done {
		tell(why.Allows(), why)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting -= len(done)
	c.stats.Answers[why] += uint64(len(done))
}

// next takes the oldest flight of the queue, or ends the worker.
func (c *Checker) next() *flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		c.queue = nil // give back what a storm took
		c.workers--
		return nil
	}
	f := c.queue[0]
	c.queue[0] = nil
	c.queue = c.queue[1:]
	return f
}

// Stats returns the counters.
func (c *Checker) Stats() Stats {
	c.mu.Lock()
	s := c.stats
	s.Waiting, s.Asking = c.waiting, c.workers
	c.mu.Unlock()
	s.TailscaledLost, s.URLLost = c.tailscaled.isLost(), c.url.isLost()
	return s
}

// Close refuses everything from now on: what is under way is broken off, and who waits is
// answered Closed. It returns when all of them have been told.
func (c *Checker) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.tasks.Wait()
	for _, b := range []*backend{c.tailscaled, c.url} {
		if b != nil {
			b.close()
		}
	}
}
