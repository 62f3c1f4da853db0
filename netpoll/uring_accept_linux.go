package netpoll

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"derpd/netpoll/internal/uring"
)

// uacceptor is a listener with its accepts: each is for one connection, because only then does
// the kernel tell the peer's address, and waits in the kernel with a slot reserved for it.
type uacceptor struct {
	acceptor
	peers []acceptPeer
	slots []int32 // by accept in flight: the slot reserved for it
	idle  []int32 // accepts that are not in flight
}

// acceptPeer is where the kernel writes who has connected.
type acceptPeer struct {
	address unix.RawSockaddrAny
	size    uint32
}

// listen takes the listeners over.
func (l *URing) listen(listeners []*Listener) (err error) {
	if len(listeners) == 0 {
		return nil
	}
	each := acceptsInFlight * int(unsafe.Sizeof(acceptPeer{}))
	if l.peers, err = uring.Map(len(listeners) * each); err != nil {
		return err
	}
	for i, ln := range listeners {
		a := uacceptor{acceptor: acceptor{Listener: ln}, slots: make([]int32, acceptsInFlight),
			peers: unsafe.Slice((*acceptPeer)(unsafe.Pointer(&l.peers[i*each])), acceptsInFlight)}
		for op := range acceptsInFlight {
			a.slots[op] = -1
			a.idle = append(a.idle, int32(acceptsInFlight-1-op))
		}
		l.listeners = append(l.listeners, a)
	}
	for i := range l.listeners {
		a := &l.listeners[i]
		a.detach = func() { l.detach(a) }
	}
	return nil
}

// detach ends the accepts of a listener that is to be closed: each holds the socket open.
func (l *URing) detach(a *uacceptor) {
	for _, slot := range a.slots {
		if slot >= 0 {
			b, _ := l.bank(slot)
			l.cancel(b, kindAccept, slot, l.at(slot))
		}
	}
	for _, b := range l.banks {
		if b.ring.Pending() > 0 {
			b.submit()
		}
	}
}

// armAccepts keeps every listener that is not resting supplied with accepts.
func (l *URing) armAccepts() {
	for index := range l.listeners {
		a := &l.listeners[index]
		for len(a.idle) > 0 && a.fd >= 0 && a.resume == 0 {
			slot, c, err := l.reserve()
			if err != nil {
				errno := unix.ENOMEM
				errors.As(err, &errno)
				l.restAccept(a, errno)
				break
			}
			last := len(a.idle) - 1
			op := a.idle[last]
			a.idle = a.idle[:last]
			a.slots[op] = slot
			c.state = accepting
			c.link = int32(index)*acceptsInFlight + op
			peer := &a.peers[op]
			peer.size = unix.SizeofSockaddrAny
			b, file := l.bank(slot)
			l.room(b).Accept(int(a.fd), file, &peer.address, &peer.size,
				userData(kindAccept, slot, c.generation))
			l.expect(c)
		}
	}
}

// accepted handles the completion of an accept: with a connection in the slot's file, or an
// error. It cannot fail for good: whatever goes wrong, the listener is tried again.
func (l *URing) accepted(b *bank, slot int32, c *uconn, res int32) {
	index, op := c.link/acceptsInFlight, c.link%acceptsInFlight
	a := &l.listeners[index]
	a.slots[op] = -1
	a.idle = append(a.idle, op)
	if errno := unix.Errno(max(-res, 0)); errno != 0 {
		l.unreserve(slot, c)
		if errno != unix.ECANCELED && !ofConnection(errno) {
			l.restAccept(a, errno)
		}
		return
	}
	if l.live >= l.maxConns || a.fd < 0 {
		l.room(b).CloseFile(int(slot-b.base), kindNone)
		b.closing = true
		l.unreserve(slot, c)
		if a.fd >= 0 {
			l.stats.AcceptsFull++
			a.tellFull(l.log, l.maxConns)
		}
		return
	}
	c.state, c.link = open, 0
	l.live++
	l.stats.Accepts++
	if a.resume == 0 { // else it was in flight already when want began
		a.succeeded(l.log)
	}
	l.wantReceive(slot, c)
	h := MakeHandle(l.id, int(slot), c.generation)
	l.handler.Accepted(h, int(index), addrPortOf(&a.peers[op].address))
}

// restAccept stops accepting on a listener for a while. The connections stay in the kernel's
// queue, and their peers wait. Accepts in flight that fail likewise change nothing more.
func (l *URing) restAccept(a *uacceptor, errno unix.Errno) {
	l.stats.AcceptErrors++
	if a.resume != 0 {
		a.failed++
		return
	}
	a.failedFor(errno, l.now, l.live, l.log)
	l.resting++
}
