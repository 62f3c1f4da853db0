package admit

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// errLost marks a service that could not be reached: no connection, or no answer in time.
var errLost = errors.New("unreachable")

// backend is a service that is asked about logins, and whether it can be reached.
//
//	state     lost       who asks                       after an answer   after a failure
//	reached   < lostMax  every check                    lost = 0          lost + 1
//	lost      ≥ lostMax  one at a time; for the rest    reached           still lost
//	                     it is unreachable at once
//
// So a service that hangs costs each of the first checks its timeout, and then one goroutine.
type backend struct {
	name    string // "tailscaled" or "admission URL"
	address string // without secrets
	// query asks the service. An err is a trouble to tell the operator, with the remedy; it
	// wraps errLost if there was no answer.
	query   func(ctx context.Context, s subject) (why Reason, err error)
	lostWhy Reason // what a check is told that may not ask

	timeout   time.Duration
	transport *http.Transport
	log       *slog.Logger
	now       func() time.Time

	mu      sync.Mutex
	lost    int  // failures in a row to reach it
	probing bool // a check is asking although it is lost

	trouble bool      // the last answer was none, or a wrong one
	told    bool      // and that was logged
	toldAt  time.Time // the last line
	since   time.Time // the trouble began
}

// check asks about s, for at most the timeout.
func (b *backend) check(ctx context.Context, s subject) Reason {
	probe, ok := b.enter()
	if !ok {
		return b.lostWhy
	}
	asking, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	why, err := b.query(asking, s)
	b.leave(err, probe, ctx.Err() != nil)
	return why
}

// enter reports whether a check may ask, and whether it is the one that may while the service
// is lost.
func (b *backend) enter() (probe, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost < lostMax {
		return false, true
	}
	if b.probing {
		return false, false
	}
	b.probing = true
	return true, true
}

// leave notes what came of asking. What was broken off by Close says nothing.
func (b *backend) leave(err error, probe, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if probe {
		b.probing = false
	}
	switch {
	case closed:
		return
	case errors.Is(err, errLost):
		b.lost++
	default:
		b.lost = 0
	}
	b.tell(err)
}

// tell logs where a trouble begins and where it ends. It is called with b.mu held.
func (b *backend) tell(err error) {
	now := b.now()
	if err == nil {
		if b.told {
			b.log.Info(b.name+" answers again", "address", b.address,
				"after", now.Sub(b.since).Round(time.Second))
		}
		b.trouble, b.told = false, false
		return
	}
	if !b.trouble {
		b.trouble, b.since = true, now
	}
	if !b.told && (b.toldAt.IsZero() || now.Sub(b.toldAt) >= tellEvery) {
		b.told, b.toldAt = true, now
		b.log.Warn(b.name+" does not answer as it should", "address", b.address, "error", err)
	}
}

// isLost reports whether checks are kept from asking; b may be nil.
func (b *backend) isLost() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost >= lostMax
}

func (b *backend) close() { b.transport.CloseIdleConnections() }
