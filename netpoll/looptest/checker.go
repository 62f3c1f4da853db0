package looptest

import (
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"derpd/netpoll"
)

// Checker stands between a loop and its handler: it is the Loop that the handler calls and
// the Handler that the loop calls. Use from a single loop only.
type Checker struct {
	netpoll.Loop // the backend's
	handler      netpoll.Handler
	report       func(format string, args ...any)

	phase    phase
	inEvent  bool // a handler method or posted function runs
	inCall   string
	conns    map[netpoll.Handle]*watched
	slots    map[int]slotUse
	received [][]byte // of this turn

	mu    sync.Mutex
	wakes bool // Wake or Post was called and Woken has not been; guarded by mu
}

// phase is how far a turn has come.
type phase uint8

const (
	phaseBegin       phase = iota // posted functions run
	phaseWoken                    // Woken was called
	phaseCompletions              // anything else was delivered
)

// watched is what the Checker knows of one connection.
type watched struct {
	connecting bool
	finTold    bool
	closing    bool   // the handler called Close or Reset
	failed     bool   // Sent told an error: only Closed may follow
	paused     bool   // PauseReceive
	afterPause int    // Received since PauseReceive
	flight     []byte // what Send keeps; nil: nothing
	armed      bool   // SetTimeout
	due        int64  // Loop.Now of the timeout
}

// slotUse is the present or last connection of a slot.
type slotUse struct {
	h    netpoll.Handle
	live bool
}

// NewChecker watches a loop. report gets what is wrong (testing.T.Errorf fits).
func NewChecker(loop netpoll.Loop, report func(format string, args ...any)) *Checker {
	return &Checker{
		Loop:   loop,
		report: report,
		conns:  make(map[netpoll.Handle]*watched),
		slots:  make(map[int]slotUse),
	}
}

// Attach sets the handler; it must happen before the loop runs.
func (k *Checker) Attach(h netpoll.Handler) { k.handler = h }

// Finish reports what is left after the loop has stopped: nothing should be.
func (k *Checker) Finish() {
	for h := range k.conns {
		k.report("handle %#x: neither Closed nor a failed Connected was delivered", uint64(h))
	}
}

// Open is the number of connections that have not ended.
func (k *Checker) Open() int { return len(k.conns) }

// event begins a handler method that is about h (0: none); done ends it.
func (k *Checker) event(name string, h netpoll.Handle) *watched {
	if k.inEvent {
		k.report("%s delivered inside another handler method", name)
	}
	if k.inCall != "" {
		k.report("%s delivered from inside Loop.%s", name, k.inCall)
	}
	k.inEvent = true
	if h == 0 {
		return nil
	}
	k.phase = phaseCompletions
	c := k.conns[h]
	if c == nil {
		k.report("%s for %#x, which is not open", name, uint64(h))
		return &watched{}
	}
	if c.failed && name != "Closed" {
		k.report("%s for %#x between a failed Sent and Closed", name, uint64(h))
	}
	if c.connecting && name != "Connected" && name != "Timeout" {
		k.report("%s for %#x before Connected", name, uint64(h))
	}
	return c
}

func (k *Checker) done() { k.inEvent = false }

// begin notes a new connection.
func (k *Checker) begin(h netpoll.Handle, c *watched) {
	if h.Loop() != k.ID() || h.Generation() == 0 {
		k.report("handle %#x given by loop %d: wrong loop or generation", uint64(h), k.ID())
	}
	s := k.slots[h.Slot()]
	if s.live {
		k.report("handle %#x takes the slot of %#x, which has not ended", uint64(h), uint64(s.h))
	}
	if s.h == h {
		k.report("handle %#x is used a second time", uint64(h))
	}
	k.slots[h.Slot()] = slotUse{h, true}
	k.conns[h] = c
}

// forget ends a connection once the handler has heard of its end.
func (k *Checker) forget(h netpoll.Handle) {
	delete(k.conns, h)
	k.slots[h.Slot()] = slotUse{h, false}
}

// Accepted implements netpoll.Handler.
func (k *Checker) Accepted(h netpoll.Handle, listener int, remote netip.AddrPort) {
	k.begin(h, &watched{})
	k.event("Accepted", h)
	defer k.done()
	if !remote.IsValid() {
		k.report("Accepted %#x without a remote address", uint64(h))
	}
	k.handler.Accepted(h, listener, remote)
}

// Connected implements netpoll.Handler.
func (k *Checker) Connected(h netpoll.Handle, err error) {
	c := k.event("Connected", h)
	defer k.done()
	if !c.connecting {
		k.report("Connected for %#x, which was not connecting", uint64(h))
	}
	if c.closing && err == nil {
		k.report("Connected without error for %#x, which the handler had closed", uint64(h))
	}
	c.connecting = false
	if err == nil {
		k.handler.Connected(h, nil)
		return
	}
	c.closing = true
	k.handler.Connected(h, err)
	k.forget(h)
}

// Received implements netpoll.Handler.
func (k *Checker) Received(h netpoll.Handle, b []byte) {
	c := k.event("Received", h)
	defer k.done()
	if c.finTold {
		k.report("Received %d bytes for %#x after the end of the stream", len(b), uint64(h))
	}
	if c.closing {
		k.report("Received %d bytes for %#x after Close", len(b), uint64(h))
	}
	if c.paused {
		if c.afterPause++; c.afterPause > 1 {
			k.report("Received %d times for %#x after PauseReceive", c.afterPause, uint64(h))
		}
	}
	c.finTold = len(b) == 0
	for _, other := range k.received {
		if overlap(b, other) {
			k.report("Received for %#x overlaps other bytes of the turn", uint64(h))
		}
	}
	if len(b) > 0 {
		k.received = append(k.received, b)
	}
	k.handler.Received(h, b)
}

// Sent implements netpoll.Handler.
func (k *Checker) Sent(h netpoll.Handle, b []byte, n int, err error) {
	c := k.event("Sent", h)
	defer k.done()
	switch {
	case c.flight == nil:
		k.report("Sent for %#x without a Send in flight", uint64(h))
	case len(b) != len(c.flight) || unsafe.SliceData(b) != unsafe.SliceData(c.flight):
		k.report("Sent for %#x gives back another buffer than Send took", uint64(h))
	case n < 0 || n > len(b) || err == nil && n != len(b):
		k.report("Sent for %#x: %d of %d bytes with error %v", uint64(h), n, len(b), err)
	}
	c.flight = nil
	c.failed = err != nil
	k.handler.Sent(h, b, n, err)
}

// Closed implements netpoll.Handler.
func (k *Checker) Closed(h netpoll.Handle, err error) {
	c := k.event("Closed", h)
	defer k.done()
	if c.flight != nil {
		k.report("Closed for %#x before Sent of the buffer in flight", uint64(h))
	}
	if err == nil && !c.closing {
		k.report("Closed for %#x without error, though the handler did not close it", uint64(h))
	}
	c.closing = true
	k.handler.Closed(h, err)
	k.forget(h)
}

// Timeout implements netpoll.Handler.
func (k *Checker) Timeout(h netpoll.Handle) {
	c := k.event("Timeout", h)
	defer k.done()
	switch {
	case c.closing:
		k.report("Timeout for %#x after Close", uint64(h))
	case !c.armed:
		k.report("Timeout for %#x, which has none set", uint64(h))
	case k.Loop.Now() < c.due:
		k.report("Timeout for %#x %v early", uint64(h), time.Duration(c.due-k.Loop.Now()))
	}
	c.armed = false
	k.handler.Timeout(h)
}

// Woken implements netpoll.Handler.
func (k *Checker) Woken() {
	k.event("Woken", 0)
	defer k.done()
	if k.phase != phaseBegin {
		k.report("Woken not at the start of a turn")
	}
	k.phase = phaseWoken
	k.mu.Lock()
	k.wakes = false
	k.mu.Unlock()
	k.handler.Woken()
}

// Flush implements netpoll.Handler.
func (k *Checker) Flush() {
	k.event("Flush", 0)
	defer k.done()
	k.handler.Flush()
	k.phase = phaseBegin
	k.received = k.received[:0]
}

// overlap tells whether two slices share bytes.
func overlap(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	x, y := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	return x < y+uintptr(len(b)) && y < x+uintptr(len(a))
}
