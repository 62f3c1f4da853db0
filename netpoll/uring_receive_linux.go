package netpoll

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// heldBytes are bytes that the kernel had taken before it could be told to stop: of a connection
// that is paused, or beyond what one Received may give.
type heldBytes struct {
	b   []byte
	fin bool // the end of the stream comes behind them
}

// wantReceive has a connection receive again when the turn is over, or be watched if it is held.
func (l *URing) wantReceive(slot int32, c *uconn) {
	if c.flags&(receiving|queuedArm) == 0 {
		c.flags |= queuedArm
		b, _ := l.bank(slot)
		b.rearm = append(b.rearm, slot)
	}
}

// armReceives gives the buffers of a turn back to the kernel and asks for more to be received.
func (l *URing) armReceives(b *bank) {
	b.buffers.Recycle()
	// Those that found no buffer first, but no more than may find one now: the others would
	// come back as they went, and again in the next turn.
	n := 0
	for room := 2 * b.buffers.Free(); n < len(b.starved) && room > 0; n++ {
		before := l.receives
		l.arm(b, b.starved[n])
		room -= l.receives - before // those closed or paused meanwhile find no buffer
	}
	b.starved = b.starved[:copy(b.starved, b.starved[n:])]
	for _, slot := range b.rearm {
		l.arm(b, slot)
	}
	b.rearm = b.rearm[:0]
}

// arm gives the kernel a receive, unless there is a reason against it by now. A connection that
// is paused is watched for a reset instead. One whose stream has ended cannot be: the kernel
// would tell of that end again and again.
func (l *URing) arm(b *bank, slot int32) {
	c := l.at(slot)
	c.flags &^= queuedArm
	file, data := int(slot-b.base), userData(kindReceive, slot, c.generation)
	switch {
	case c.state != open || c.flags&receiving != 0:
		return
	case c.hold != 0:
		c.flags &^= parking // or the end of the pause would watch it a second time
		if c.flags&watching == 0 && c.hold&holdEnded == 0 {
			c.flags |= watching
			l.expect(c)
			l.room(b).WatchBreak(file, userData(kindWatch, slot, c.generation))
		}
		return
	case c.flags&holding != 0:
		return
	case c.flags&parking != 0:
		l.park(b, slot, c)
		return
	}
	c.flags |= receiving | heard
	l.receives++
	l.expect(c)
	if c.receiveMax == 0 && l.shape.features.ReceiveLimit {
		c.flags |= many
		// The kernel stops after the receive that reaches the total, so twice this is the most.
		half := (l.receiveBytes + 1) / 2
		l.room(b).ReceiveMany(file, half, half, true, data)
		return
	}
	l.room(b).Receive(file, l.receiveLimit(c), true, data)
}

// receiveLimit is how much one Received may give.
func (l *URing) receiveLimit(c *uconn) int {
	if c.receiveMax != 0 {
		return int(c.receiveMax)
	}
	return l.receiveBytes
}

// cancelReceive ends the receive that the kernel has.
func (l *URing) cancelReceive(slot int32, c *uconn) {
	if c.flags&cancelling == 0 {
		c.flags |= cancelling
		b, _ := l.bank(slot)
		l.cancel(b, kindReceive, slot, c)
	}
}

// received handles a completion of a receive, the last one if it is.
func (l *URing) received(slot int32, c *uconn, b []byte, res int32, last bool) {
	if last {
		c.flags &^= receiving | many | cancelling
	}
	if res >= 0 {
		c.flags = c.flags&^parking | heard
		l.stats.Receives++
	}
	errno := unix.Errno(0)
	if res < 0 {
		errno = unix.Errno(-res)
	}
	switch {
	case errno == 0:
		l.stats.ReceiveBytes += uint64(len(b))
		generation := c.generation
		l.pass(slot, c, b)
		if c.generation != generation || c.state != open {
			return
		}
	case errno == unix.ENOBUFS:
		if c.flags&queuedArm == 0 {
			c.flags |= queuedArm
			bank, _ := l.bank(slot)
			bank.starved = append(bank.starved, slot)
		}
		return
	case errno != unix.ECANCELED && errno != unix.EINTR && errno != unix.EAGAIN:
		l.end(slot, c, why(errno))
		return
	}
	if last {
		l.wantReceive(slot, c)
	}
}

// bufferLocks are the values of SO_BUF_LOCK (Linux 5.15): the kernel sizes both buffers, or only
// that of sends.
var bufferLocks = [2]int32{0, sockReceiveBufferLock}

// queueSeen keeps the receive buffer from growing where the queue stands.
func (l *URing) queueSeen(slot int32, c *uconn, more bool) {
	change := c.standing.received(more, l.now)
	if change == bufferStays {
		return
	}
	value := &bufferLocks[0]
	if change == bufferKept {
		value = &bufferLocks[1]
	}
	b, file := l.bank(slot)
	l.room(b).SetOption(file, unix.SOL_SOCKET, unix.SO_BUF_LOCK,
		unsafe.Slice((*byte)(unsafe.Pointer(value)), unsafe.Sizeof(*value)), kindNone)
}

// watched ends a connection that was reset while nothing was received from it, and has one that
// is readable or resumed be received from.
func (l *URing) watched(slot int32, c *uconn, res int32) {
	c.flags &^= watching
	switch {
	case c.hold != 0 && res > 0 && res&(unix.POLLERR|unix.POLLHUP) != 0:
		l.end(slot, c, why(unix.ECONNRESET))
	case c.hold != 0 && res > 0 && res&unix.POLLIN == 0:
		// The peer has ended its stream, and would be said to have again and again.
	default:
		l.wantReceive(slot, c)
	}
}

// pass gives bytes to the handler (none: the end of the stream), or keeps what it may not have
// yet.
func (l *URing) pass(slot int32, c *uconn, b []byte) {
	if c.hold&holdPaused != 0 || c.flags&holding != 0 {
		l.keep(slot, c, b)
		return
	}
	if limit := l.receiveLimit(c); len(b) > limit {
		rest := b[limit:]
		b = b[:limit:limit]
		l.keep(slot, c, rest)
		l.resumed = append(l.resumed, slot)
	}
	if len(b) == 0 {
		c.hold |= holdEnded
	}
	l.handler.Received(MakeHandle(l.id, int(slot), c.generation), b)
}

// keep copies what the kernel has received too much, and stops it.
func (l *URing) keep(slot int32, c *uconn, b []byte) {
	held := l.held[slot]
	if held == nil {
		held = &heldBytes{}
		l.held[slot] = held
		c.flags |= holding
	}
	held.b = append(held.b, b...)
	held.fin = held.fin || len(b) == 0
	if c.flags&receiving != 0 {
		l.cancelReceive(slot, c)
	}
}

// deliverHeld gives held bytes to those that may have them, one share a turn.
func (l *URing) deliverHeld() {
	if len(l.resumed) == 0 {
		return
	}
	slots := l.resumed
	l.resumed = nil
	for _, slot := range slots {
		c := l.at(slot)
		held := l.held[slot]
		if held == nil || c.state != open || c.hold != 0 {
			continue // resuming puts it on the list again
		}
		n := min(len(held.b), l.receiveLimit(c))
		b := held.b[:n:n]
		held.b = held.b[n:]
		switch {
		case len(held.b) > 0 || n > 0 && held.fin:
			l.resumed = append(l.resumed, slot)
		default:
			delete(l.held, slot)
			c.flags &^= holding
			if n == 0 {
				c.hold |= holdEnded
			}
			l.wantReceive(slot, c)
		}
		l.handler.Received(MakeHandle(l.id, int(slot), c.generation), b)
		l.tell()
	}
}

// PauseReceive implements Loop.
func (l *URing) PauseReceive(h Handle) {
	if _, c := l.find(h); c != nil {
		// The kernel is told only when something arrives: a pause that ends before costs nothing.
		c.hold |= holdPaused
	}
}

// ResumeReceive implements Loop.
func (l *URing) ResumeReceive(h Handle) {
	slot, c := l.find(h)
	if c == nil || c.hold&holdPaused == 0 {
		return
	}
	c.hold &^= holdPaused
	if c.flags&watching != 0 && c.hold == 0 {
		b, _ := l.bank(slot)
		l.cancel(b, kindWatch, slot, c)
	}
	switch {
	case c.state != open || c.hold != 0:
		return
	case c.flags&holding != 0:
		l.resumed = append(l.resumed, slot)
	default:
		l.wantReceive(slot, c)
	}
}

// SetReceiveMax implements Loop. More than the loop's share is cut to it.
func (l *URing) SetReceiveMax(h Handle, n int) {
	slot, c := l.find(h)
	if c == nil {
		return
	}
	c.receiveMax = uint32(min(max(n, 0), l.receiveBytes))
	if c.receiveMax != 0 && c.flags&many != 0 {
		l.cancelReceive(slot, c)
	}
}
