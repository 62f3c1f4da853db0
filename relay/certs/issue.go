package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

const (
	tlsALPN01 = "tls-alpn-01"
	http01    = "http-01"
)

// get returns a certificate that is not due, from the cache if another process has put one
// there, else from the CA. A certificate that cannot be stored is still served.
// failures is how many attempts have failed since the last success.
func (a *Auto) get(ctx context.Context, s subject, failures int) (*tls.Certificate, error) {
	stored, err := loadCached(a.conf.CacheDir, s)
	if err == nil && a.conf.Now().Before(a.renewAt(s, stored.Leaf)) {
		return stored, nil
	}
	ctx, cancel := context.WithTimeout(ctx, issueMax)
	defer cancel()
	pair, err := a.obtain(ctx, s, failures)
	if err != nil {
		return nil, err
	}
	a.counts.issued.Add(1)
	if err := storeCached(a.conf.CacheDir, s, pair); err != nil {
		a.log.Error("certificate not stored; a restart will need another one", "for", s,
			"error", err)
	}
	return pair, nil
}

// obtain is one order from account to certificate (RFC 8555 §7.1).
func (a *Auto) obtain(ctx context.Context, s subject, failures int) (*tls.Certificate, error) {
	client, err := a.client(ctx, s)
	if err != nil {
		return nil, err
	}
	order, err := a.authorize(ctx, client, s, failures)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, s.request(), key)
	if err != nil {
		return nil, err
	}
	chain, _, err := client.CreateCertFromOrder(ctx, order, request, true)
	if err != nil {
		return nil, fmt.Errorf("%s does not issue: %w", a.conf.Directory, err)
	}
	return checked(s, chain, key)
}

// request returns what to certify (RFC 8555 §7.4; RFC 8738 §3 for addresses).
func (s subject) request() *x509.CertificateRequest {
	if s.addr.IsValid() {
		return &x509.CertificateRequest{IPAddresses: []net.IP{s.addr.AsSlice()}}
	}
	return &x509.CertificateRequest{DNSNames: []string{s.name}}
}

// checked makes a pair of what the CA has sent, if it is what was asked for.
func checked(s subject, chain [][]byte, key *ecdsa.PrivateKey) (*tls.Certificate, error) {
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, fmt.Errorf("the CA's certificate cannot be read: %w", err)
	}
	if err := leaf.VerifyHostname(s.String()); err != nil {
		return nil, fmt.Errorf("the CA's certificate is for something else: %w", err)
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("the CA's certificate is for another key")
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}, nil
}

// client returns a client with an account. Both are made anew for each order, which comes
// once in weeks: so a CA that has moved or lost its accounts is met as it is now.
func (a *Auto) client(ctx context.Context, s subject) (*acme.Client, error) {
	a.accounts.Lock()
	key, err := accountKey(a.conf.CacheDir, s)
	a.accounts.Unlock()
	if err != nil {
		return nil, err
	}
	c := &acme.Client{Key: key, DirectoryURL: a.conf.Directory, HTTPClient: a.conf.HTTPClient,
		UserAgent: "derpd", RetryBackoff: backoff}
	if _, err := c.Discover(ctx); err != nil {
		return nil, fmt.Errorf("ACME server %s: %w: check that this machine can reach it",
			a.conf.Directory, err)
	}
	// Asking first spares the external account binding, which some CAs take only once.
	if known, err := c.GetReg(ctx, ""); err == nil {
		c.KID = acme.KeyID(known.URI)
		return c, nil
	}
	account := &acme.Account{ExternalAccountBinding: a.binding}
	if a.conf.Email != "" {
		account.Contact = []string{"mailto:" + a.conf.Email}
	}
	_, err = c.Register(ctx, account, acme.AcceptTOS)
	if err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, fmt.Errorf("ACME server %s refuses an account for -acme-email %q: %w",
			a.conf.Directory, a.conf.Email, err)
	}
	return c, nil
}

// backoff is the pause before a request is repeated that has failed for the n-th time; 0: it is
// not. A CA that says when it wants to be asked again has the attempt ended, and is heard by
// settle.
func backoff(n int, _ *http.Request, r *http.Response) time.Duration {
	if r.StatusCode == http.StatusTooManyRequests || r.Header.Get("Retry-After") != "" {
		return 0
	}
	return min(time.Second<<min(n-1, 10), requestPauseMax)
}

// retryAfter returns for how long the CA that caused an error does not want to be asked (RFC 8555
// §6.6); 0 if it did not say so.
func retryAfter(err error, now time.Time) time.Duration {
	var e *acme.Error
	if !errors.As(err, &e) {
		return 0
	}
	said := e.Header.Get("Retry-After")
	wait := time.Duration(0)
	if n, err := strconv.ParseUint(said, 10, 31); err == nil {
		wait = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(said); err == nil {
		wait = at.Sub(now)
	}
	return min(max(0, wait), retryAfterMax)
}

// authorize returns an order that is ready to be finalized. Each kind of validation needs an
// order of its own, as a failed one ends its order. After the first attempt they take turns, one to
// an attempt, since a CA counts those that fail.
func (a *Auto) authorize(ctx context.Context, c *acme.Client, s subject, failures int) (*acme.Order,
	error) {
	kinds := a.kinds(s)
	if len(kinds) == 0 {
		return nil, fmt.Errorf("a certificate for %v needs http-01 validation: set -http-port 80",
			s)
	}
	first := failures % len(kinds)
	kinds = slices.Concat(kinds[first:], kinds[:first])
	var failed failedKinds
	for _, kind := range kinds {
		order, err := newOrder(ctx, c, s)
		if err != nil {
			return nil, fmt.Errorf("%s refuses an order for %v: %w", a.conf.Directory, s, err)
		}
		counted, err := a.validate(ctx, c, order, kind, s)
		if err == nil {
			var ready *acme.Order
			if ready, err = c.WaitOrder(ctx, order.URI); err == nil {
				return ready, nil
			}
		}
		relinquish(ctx, c, order)
		failed = append(failed, fmt.Errorf("%s: %w", kind, err))
		if counted && failures > 0 || retryAfter(err, a.conf.Now()) > 0 {
			break
		}
	}
	return nil, fmt.Errorf("%s could not validate %v (%w): let the world reach port 443 or 80 "+
		"there, and see that this machine answers", a.conf.Directory, s, failed)
}

// failedKinds are the errors of the kinds of validation that were tried.
type failedKinds []error

// Error implements error, in one line.
func (f failedKinds) Error() string {
	var said []string
	for _, err := range f {
		said = append(said, err.Error())
	}
	return strings.Join(said, "; ")
}

// Unwrap lets errors.As see each.
func (f failedKinds) Unwrap() []error { return f }

// kinds returns the kinds of validation to try, in order.
func (a *Auto) kinds(s subject) (kinds []string) {
	if !s.addr.IsValid() {
		kinds = append(kinds, tlsALPN01)
	}
	if a.http01.Load() {
		kinds = append(kinds, http01)
	}
	return kinds
}

func newOrder(ctx context.Context, c *acme.Client, s subject) (*acme.Order, error) {
	if s.addr.IsValid() {
		return c.AuthorizeOrder(ctx, acme.IPIDs(s.addr.String()),
			acme.WithOrderIssuanceProfile(shortLived))
	}
	return c.AuthorizeOrder(ctx, acme.DomainIDs(s.name))
}

// validate has every pending authorization of an order validated, and tells whether the CA was
// asked to look.
func (a *Auto) validate(ctx context.Context, c *acme.Client, order *acme.Order, kind string,
	s subject) (counted bool, err error) {
	for _, url := range order.AuthzURLs {
		z, err := c.GetAuthorization(ctx, url)
		if err != nil {
			return counted, err
		}
		if z.Status != acme.StatusPending {
			continue
		}
		offered := func(ch *acme.Challenge) bool { return ch.Type == kind }
		i := slices.IndexFunc(z.Challenges, offered)
		if i < 0 {
			return counted, errors.New("not offered by the CA")
		}
		counted = true
		if err := a.answer(ctx, c, z, z.Challenges[i], s); err != nil {
			return counted, err
		}
	}
	return counted, nil
}

// answer puts the answer to a challenge in place for as long as the CA looks for it.
func (a *Auto) answer(ctx context.Context, c *acme.Client, z *acme.Authorization,
	ch *acme.Challenge, s subject) error {
	if ch.Type == tlsALPN01 {
		pair, err := c.TLSALPN01ChallengeCert(ch.Token, s.name)
		if err != nil {
			return err
		}
		a.challenges.certs.Store(s.name, &pair)
		defer a.challenges.certs.Delete(s.name)
	} else {
		body, err := c.HTTP01ChallengeResponse(ch.Token)
		if err != nil {
			return err
		}
		path := c.HTTP01ChallengePath(ch.Token)
		a.challenges.bodies.Store(path, body)
		defer a.challenges.bodies.Delete(path)
	}
	if _, err := c.Accept(ctx, ch); err != nil {
		return err
	}
	_, err := c.WaitAuthorization(ctx, z.URI)
	return err
}

// relinquish gives back what a failed order has left pending, since CAs limit how much may
// be. If that fails too, it ends by itself in days.
func relinquish(ctx context.Context, c *acme.Client, order *acme.Order) {
	for _, url := range order.AuthzURLs {
		z, err := c.GetAuthorization(ctx, url)
		if err != nil {
			return
		}
		if z.Status == acme.StatusPending && c.RevokeAuthorization(ctx, url) != nil {
			return
		}
	}
}
