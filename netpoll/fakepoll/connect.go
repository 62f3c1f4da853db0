package fakepoll

import (
	"fmt"
	"net/netip"
	"syscall"

	"derpd/netpoll"
)

// service is what answers at an address that loops connect to.
type service struct {
	serve    func(*Peer) // a peer of the test's own
	loop     *Loop       // or a listener of this loop
	listener int
}

// Serve lets a Connect to addr succeed: serve gets the far end, between turns and before
// Connected. An address that nobody serves refuses connections.
func (w *World) Serve(addr netip.AddrPort, serve func(*Peer)) {
	w.served[addr] = service{serve: serve}
}

// Route lets a Connect to addr arrive at a listener of l: a connection between two loops, or
// of a loop with itself.
func (w *World) Route(addr netip.AddrPort, l *Loop, listener int) {
	w.served[addr] = service{loop: l, listener: listener}
}

// Unserve makes addr refuse connections again.
func (w *World) Unserve(addr netip.AddrPort) { delete(w.served, addr) }

func (w *World) listenAddr(listener int) netip.AddrPort {
	if addr, ok := w.listen[listener]; ok {
		return addr
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(443+listener))
}

// Connect implements netpoll.Loop. The address answers if the world serves or routes it.
func (l *Loop) Connect(local, remote netip.AddrPort) (netpoll.Handle, error) {
	if !l.own("Connect") {
		return 0, netpoll.ErrClosed
	}
	if l.closing {
		return 0, netpoll.ErrStopped
	}
	if !remote.IsValid() || remote.Port() == 0 {
		return 0, fmt.Errorf("fakepoll: connect to %v: %w", remote, syscall.EINVAL)
	}
	c := newConn(l)
	if !l.take(c) {
		return 0, netpoll.ErrTooMany
	}
	w := l.world
	c.connecting, c.remote, c.local = true, remote, ephemeral(w, local, remote)
	c.transfer.kind = timerConnect
	at := w.now
	if w.faults != (Faults{}) {
		at += w.lag()
	}
	w.timers.arm(&c.transfer, at)
	return c.h, nil
}

// ephemeral completes a local address as the kernel does.
func ephemeral(w *World, local, remote netip.AddrPort) netip.AddrPort {
	addr, port := local.Addr(), local.Port()
	if !addr.IsValid() || addr.IsUnspecified() {
		addr = netip.AddrFrom4([4]byte{192, 0, 2, 1})
		if remote.Addr().Is6() {
			addr = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1})
		}
	}
	if port == 0 {
		port = uint16(32768 + w.rng.IntN(28232))
	}
	return netip.AddrPortFrom(addr, port)
}

// decide settles a Connect, between turns.
func (c *conn) decide() {
	w := c.loop.world
	c.decided = true
	c.transfer.kind = timerTransmit
	c.loop.enqueue(c)
	s, ok := w.served[c.remote]
	switch {
	case !ok || s.loop != nil && s.loop.ended.Load():
		c.connectErr = syscall.ECONNREFUSED
		return
	case w.chance(w.faults.ConnectFail):
		c.connectErr = []error{syscall.ECONNREFUSED, syscall.ETIMEDOUT}[w.rng.IntN(2)]
		return
	}
	p := &Peer{world: w, loop: c.loop, conn: c, h: c.h, remote: c.remote, window: -1}
	c.peer = p
	if s.loop == nil {
		s.serve(p)
		return
	}
	p.link = w.Dial(s.loop, s.listener, c.local)
	p.link.link = p
}
