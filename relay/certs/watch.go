package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"time"

	"derpd/relay/derp"
)

// entry is what Watch knows about one subject.
type entry struct {
	pair  *tls.Certificate // in service, with Leaf; nil before the first
	asked bool             // to be got and renewed: the host name, or a client has come
	busy  bool             // an attempt is under way
	after time.Time        // no attempt before
	pause time.Duration    // behind the last failure; zero after a success
	fails int              // attempts that have failed since the last success
}

// result is what one attempt has come to.
type result struct {
	subject subject
	pair    *tls.Certificate
	err     error
}

// Watch gets and renews certificates until ctx ends, and returns when no attempt is under
// way any more.
func (a *Auto) Watch(ctx context.Context) {
	tick := time.NewTicker(a.period)
	defer tick.Stop()
	var attempts sync.WaitGroup
	defer attempts.Wait()
	for {
		for _, s := range a.look(a.conf.Now()) {
			failures := a.entries[s].fails
			attempts.Go(func() { a.attempt(ctx, s, failures) })
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case ip := <-a.wanted:
			a.want(subject{addr: ip}, a.conf.Now())
		case r := <-a.results:
			a.settle(ctx, r, a.conf.Now())
		}
	}
}

// attempt gets one certificate and tells Watch.
func (a *Auto) attempt(ctx context.Context, s subject, failures int) {
	r := result{subject: s}
	r.pair, r.err = a.get(ctx, s, failures)
	select {
	case a.results <- r:
	case <-ctx.Done():
	}
}

// look returns what is due and marks it busy, so that a subject has one attempt at a time.
func (a *Auto) look(now time.Time) (due []subject) {
	if now.Sub(a.metaAt) >= metaEvery {
		if err := a.remakeMeta(now); err != nil {
			a.log.Error("meta certificate not renewed; the old one stays in service", "error", err)
		}
		a.publish()
	}
	for s, e := range a.entries {
		if e.busy || !e.asked || now.Before(e.after) {
			continue
		}
		if e.pair == nil || !now.Before(a.renewAt(s, e.pair.Leaf)) {
			e.busy = true
			due = append(due, s)
		}
	}
	return due
}

// renewAt returns when a certificate is to be renewed.
func (a *Auto) renewAt(s subject, leaf *x509.Certificate) time.Time {
	before := leaf.NotAfter.Sub(leaf.NotBefore) / renewThird
	if a.conf.RenewBefore > 0 && !s.addr.IsValid() {
		before = a.conf.RenewBefore
	}
	before = min(before, renewBeforeMax)
	// The end of a signature is as good as a random number, and stays the same.
	part := binary.BigEndian.Uint16(leaf.Raw[len(leaf.Raw)-2:])
	spread := min(before/renewSpread, renewSpreadMax) * time.Duration(part) >> 16
	return leaf.NotAfter.Add(spread - before)
}

// want enters an address that a client has connected to.
func (a *Auto) want(s subject, now time.Time) {
	e := a.entries[s]
	if e == nil {
		if len(a.entries) >= addressesMax && !a.evict(now) {
			if !a.full {
				a.log.Warn("no certificate for another address: too many", "for", s, "max",
					addressesMax, "remedy", "route fewer addresses here, or use a host name")
			}
			a.full = true
			return
		}
		e = &entry{}
		a.entries[s] = e
	}
	if !e.asked {
		e.asked = true
		a.publish()
	}
}

// evict forgets an address that could not be certified and has done its pause.
func (a *Auto) evict(now time.Time) bool {
	for s, e := range a.entries {
		if s != a.host && e.pair == nil && !e.busy && !now.Before(e.after) {
			delete(a.entries, s)
			return true
		}
	}
	return false
}

// settle takes what an attempt has come to.
func (a *Auto) settle(ctx context.Context, r result, now time.Time) {
	e := a.entries[r.subject]
	e.busy = false
	if r.err != nil {
		if ctx.Err() != nil {
			return // it was stopped, and has not failed
		}
		a.counts.failed.Add(1)
		e.fails++
		e.pause = min(max(2*e.pause, retryMin), retryMax)
		wait := max(e.pause, retryAfter(r.err, now))
		e.after = now.Add(wait)
		if e.pair == nil && r.subject != a.host {
			e.asked = false // tried again for the next client that comes
			a.publish()
		}
		a.log.Error("no new certificate", "for", r.subject, "in_service", e.pair != nil,
			"again_in", wait, "error", r.err)
		return
	}
	leaf := r.pair.Leaf
	e.pair, e.pause, e.fails = r.pair, 0, 0
	e.after = now.Add(leaf.NotAfter.Sub(leaf.NotBefore) / renewPause)
	a.publish()
	a.log.Info("certificate in service", "for", r.subject, "issuer", leaf.Issuer,
		"until", leaf.NotAfter, "renewed_from", a.renewAt(r.subject, leaf))
}

func (a *Auto) remakeMeta(now time.Time) error {
	meta, err := derp.MetaCert(a.server, now)
	if err != nil {
		return err
	}
	a.meta, a.metaAt = meta, now
	return nil
}

// publish puts the entries in service.
func (a *Auto) publish() {
	next := &served{addrs: make(map[netip.Addr]servedAddr, len(a.entries))}
	for s, e := range a.entries {
		var pair *tls.Certificate
		if e.pair != nil {
			pair = withMeta(e.pair, a.meta)
			if end := e.pair.Leaf.NotAfter; e.asked && (next.until.IsZero() || end.Before(next.until)) {
				next.until = end
			}
		}
		if s.addr.IsValid() {
			next.addrs[s.addr] = servedAddr{pair, e.asked}
		} else {
			next.name = pair
		}
	}
	a.served.Store(next)
}

// withMeta returns a copy of pair whose chain ends with the meta certificate.
func withMeta(pair *tls.Certificate, meta []byte) *tls.Certificate {
	with := *pair
	with.Certificate = append(slices.Clone(pair.Certificate), meta)
	return &with
}
