package fakepoll

import (
	"fmt"

	"derpd/netpoll"
)

// send is Loop.Send of bytes, at least one.
func (c *conn) send(b []byte) bool {
	w := c.loop.world
	if c.sending && !c.owner {
		what := fmt.Sprintf("loop %d: Send on %#x while another is in flight",
			c.loop.id, uint64(c.h))
		w.Violation("%s", what)
		panic("fakepoll: " + what)
	}
	if c.owner || c.ended && c.connecting {
		return true
	}
	if c.connecting {
		w.Violation("loop %d: Send on %#x before Connected", c.loop.id, uint64(c.h))
		return true
	}
	c.loop.stats.Sends++
	if !c.ended && !c.peer.reset && w.chance(w.faults.Reset) {
		c.peer.cutWire()
	}
	if c.ended || c.peer.reset {
		return c.sendInVain(b)
	}
	n := min(len(b), c.peer.room())
	if w.chance(w.faults.SendBlock) {
		n = 0
	} else if w.chance(w.faults.ShortSend) {
		n = w.part(n)
	}
	c.push(b[:n])
	if n == len(b) {
		return true
	}
	c.keep(b, n)
	c.armWrite()
	c.again()
	return false
}

// sendInVain is a Send after the connection broke, of which the handler has not heard all:
// the kernel may still take the bytes, or refuse them.
func (c *conn) sendInVain(b []byte) bool {
	if c.failed || c.loop.world.rng.IntN(2) == 0 {
		c.peer.lost += len(b)
		c.loop.stats.SendBytes += uint64(len(b))
		return true
	}
	c.keep(b, 0)
	return false
}

// keep takes a buffer of which n bytes were taken.
func (c *conn) keep(b []byte, n int) {
	c.loop.stats.SendBlocked++
	c.sending, c.sent, c.buf, c.off, c.sum = true, false, b, n, checksum(b)
	c.progress = c.loop.world.now
}

// push hands bytes to the kernel.
func (c *conn) push(b []byte) {
	if len(b) == 0 {
		return
	}
	c.loop.stats.SendBytes += uint64(len(b))
	c.loop.world.note(eventSend, c.loop, c.h, len(b), b, nil)
	c.peer.arrive(b)
}

// again waits for the moment when the kernel takes more.
func (c *conn) again() {
	w := c.loop.world
	if c.peer.room() == 0 {
		c.stalled = true
		return
	}
	at := w.now
	if w.chance(w.faults.DelayedSent) {
		at += w.lag()
	}
	w.timers.arm(&c.transfer, at)
}

// roomOpened is called when the far side has read or will take more.
func (c *conn) roomOpened() {
	if c.stalled && !c.ended && c.peer.room() > 0 {
		c.stalled = false
		c.again()
	}
}

// transmit is the kernel taking more of the buffer in flight, between turns.
func (c *conn) transmit() {
	w := c.loop.world
	if c.ended || c.peer.reset || !c.sending || c.sent {
		return
	}
	c.verify()
	if rest := c.buf[c.off:]; len(rest) > 0 {
		if w.chance(w.faults.Reset) {
			c.peer.cutWire()
			return
		}
		n := min(len(rest), c.peer.room())
		if w.chance(w.faults.ShortSend) {
			n = w.part(n)
		}
		c.push(rest[:n])
		c.off += n
		if n > 0 {
			c.progress = w.now
			c.armWrite()
		}
		if c.off < len(c.buf) {
			c.again()
			return
		}
		if w.chance(w.faults.DelayedSent) {
			w.timers.arm(&c.transfer, w.now+w.lag())
			return
		}
	}
	c.sent = true
	c.loop.enqueue(c)
}

// verify checks that the buffer in flight is what was given away.
func (c *conn) verify() {
	if checksum(c.buf) == c.sum {
		return
	}
	c.sum = checksum(c.buf) // told once
	c.loop.world.Violation("loop %d: a buffer of %d bytes given away by Send on %#x was "+
		"written to before Sent (%d bytes of it taken)",
		c.loop.id, len(c.buf), uint64(c.h), c.off)
}

// armWrite sets the write timer from the latest progress.
func (c *conn) armWrite() {
	w := c.loop.world
	if !c.sending || c.writeTimeout <= 0 || c.off == len(c.buf) {
		w.timers.stop(&c.write)
		return
	}
	w.timers.arm(&c.write, max(w.coarse(c.progress+c.writeTimeout), w.now))
}

// writeTimedOut gives the connection up.
func (c *conn) writeTimedOut() {
	if c.ended || c.peer.reset {
		return
	}
	c.end(netpoll.ErrWriteTimeout, netpoll.ErrWriteTimeout)
	c.peer.loopEnded(c.loop.world.rng.IntN(2) == 0)
}

func (c *conn) deliverSent() {
	if !c.ended && c.sent {
		c.giveBack()
	}
}

// giveBack returns the buffer in flight to the handler.
func (c *conn) giveBack() {
	c.verify()
	b, n, err := c.buf, c.off, c.sendErr
	if n == len(b) {
		err = nil // all of it was taken, whatever came then
	}
	c.sending, c.sent, c.stalled, c.buf = false, false, false, nil
	c.failed = err != nil
	c.loop.world.timers.stop(&c.write)
	c.loop.world.note(eventSent, c.loop, c.h, n, b, err)
	c.loop.handler.Sent(c.h, b, n, err)
}
