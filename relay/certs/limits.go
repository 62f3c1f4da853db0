package certs

import "time"

const (
	// acmeLookEvery is how often the ACME room compares the clock with what is due. It costs
	// microseconds, and unlike one long timer it notices that the machine has slept.
	acmeLookEvery = time.Minute
	// issueMax bounds one attempt to get a certificate, whatever the ACME server does.
	// Validation from several places and a queue at the CA take tens of seconds.
	issueMax = 5 * time.Minute
	// requestMax bounds one request to the ACME server, so that a silent one is given up
	// long before the attempt.
	requestMax = 30 * time.Second
	// requestPauseMax bounds the pause before a request to the ACME server is repeated.
	requestPauseMax = 10 * time.Second
	// retryMin and retryMax bound the pause after a failure; it doubles. Let's Encrypt allows
	// five failed validations of a name, and another every 12 minutes: two in the first attempt and
	// one in each that follows stay within that. Renewal begins weeks (days for addresses) before
	// the end.
	retryMin = time.Minute
	retryMax = 30 * time.Minute
	// retryAfterMax bounds the pause that a CA asks for: should it be wrong about that, a certificate
	// is still renewed in time.
	retryAfterMax = 24 * time.Hour
	// renewThird: a certificate is renewed when this part of its lifetime is left, 30 days at
	// most (the default of autocert, and of derper for addresses).
	renewThird     = 3
	renewBeforeMax = 30 * 24 * time.Hour
	// renewPause: after an issue there is no other for this part of the lifetime, so that a
	// wrong clock or RenewBefore cannot spend the CA's quota (five a week for one name).
	renewPause = 6
	// renewSpread: relays whose certificates were issued at one moment renew over this part
	// of the time that is left, an hour at most.
	renewSpread    = 10
	renewSpreadMax = time.Hour
	// addressesMax bounds the addresses that certificates are kept for. A server has a few,
	// but a whole prefix may be routed to it.
	addressesMax = 32
	// wantedMax bounds what handshakes have asked for and Watch has not seen; what does not
	// fit is asked again by the next handshake.
	wantedMax = 16
	// hostNameMax is the longest name in DNS (RFC 1035 §2.3.4), in characters.
	hostNameMax = 253
)
