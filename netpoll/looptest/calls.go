package looptest

import (
	"net/netip"
	"time"

	"derpd/netpoll"
)

// call brackets a Loop method, to see completions delivered from inside it.
func (k *Checker) call(name string) {
	if !k.inEvent {
		k.report("Loop.%s called outside of handler methods and posted functions", name)
	}
	k.inCall = name
}

func (k *Checker) returned() { k.inCall = "" }

// Wake implements netpoll.Loop.
func (k *Checker) Wake() {
	k.mu.Lock()
	k.wakes = true
	k.mu.Unlock()
	k.Loop.Wake()
}

// Waiting tells whether a Wake or Post is still without its Woken.
func (k *Checker) Waiting() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wakes
}

// Post implements netpoll.Loop.
func (k *Checker) Post(fn func()) bool {
	k.mu.Lock()
	k.wakes = true
	k.mu.Unlock()
	return k.Loop.Post(k.posted(fn))
}

// Leave implements netpoll.Loop.
func (k *Checker) Leave(fn func()) bool { return k.Loop.Leave(k.posted(fn)) }

// posted brackets a function that was posted or left.
func (k *Checker) posted(fn func()) func() {
	return func() {
		k.event("a posted function", 0)
		defer k.done()
		if k.phase != phaseBegin {
			k.report("a posted function runs after Woken or completions of its turn")
		}
		fn()
	}
}

// Connect implements netpoll.Loop.
func (k *Checker) Connect(local, remote netip.AddrPort) (netpoll.Handle, error) {
	k.call("Connect")
	defer k.returned()
	h, err := k.Loop.Connect(local, remote)
	if err == nil {
		k.begin(h, &watched{connecting: true})
	}
	return h, err
}

// Send implements netpoll.Loop.
func (k *Checker) Send(h netpoll.Handle, b []byte) bool {
	k.call("Send")
	defer k.returned()
	taken := k.Loop.Send(h, b)
	c := k.conns[h]
	if taken {
		return true
	}
	switch {
	case c == nil || c.closing:
		k.report("Send kept a buffer of %#x, which has ended", uint64(h))
	case len(b) == 0:
		k.report("Send kept an empty buffer of %#x", uint64(h))
	default:
		c.flight = b
	}
	return false
}

// Close implements netpoll.Loop.
func (k *Checker) Close(h netpoll.Handle) {
	k.call("Close")
	defer k.returned()
	k.Loop.Close(h)
	k.closed(h)
}

// Reset implements netpoll.Loop.
func (k *Checker) Reset(h netpoll.Handle) {
	k.call("Reset")
	defer k.returned()
	k.Loop.Reset(h)
	k.closed(h)
}

func (k *Checker) closed(h netpoll.Handle) {
	if c := k.conns[h]; c != nil {
		c.closing = true
	}
}

// PauseReceive implements netpoll.Loop.
func (k *Checker) PauseReceive(h netpoll.Handle) {
	k.call("PauseReceive")
	defer k.returned()
	k.Loop.PauseReceive(h)
	if c := k.conns[h]; c != nil && !c.paused {
		c.paused, c.afterPause = true, 0
	}
}

// ResumeReceive implements netpoll.Loop.
func (k *Checker) ResumeReceive(h netpoll.Handle) {
	k.call("ResumeReceive")
	defer k.returned()
	k.Loop.ResumeReceive(h)
	if c := k.conns[h]; c != nil {
		c.paused = false
	}
}

// SetReceiveMax implements netpoll.Loop.
func (k *Checker) SetReceiveMax(h netpoll.Handle, n int) {
	k.call("SetReceiveMax")
	defer k.returned()
	k.Loop.SetReceiveMax(h, n)
}

// SetTimeout implements netpoll.Loop.
func (k *Checker) SetTimeout(h netpoll.Handle, d time.Duration) {
	k.call("SetTimeout")
	defer k.returned()
	k.Loop.SetTimeout(h, d)
	if c := k.conns[h]; c != nil {
		c.armed, c.due = d > 0, k.Loop.Now()+int64(d)
	}
}

// WakeAt implements netpoll.Loop.
func (k *Checker) WakeAt(at int64) {
	k.call("WakeAt")
	defer k.returned()
	k.Loop.WakeAt(at)
}

// SetBusy implements netpoll.Loop.
func (k *Checker) SetBusy(busy bool) {
	k.call("SetBusy")
	defer k.returned()
	k.Loop.SetBusy(busy)
}

// SetWriteTimeout implements netpoll.Loop.
func (k *Checker) SetWriteTimeout(h netpoll.Handle, d time.Duration) {
	k.call("SetWriteTimeout")
	defer k.returned()
	k.Loop.SetWriteTimeout(h, d)
}
