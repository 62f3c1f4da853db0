package netpoll

import (
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"derpd/netpoll/internal/uring"
)

// uconn is what the loop knows of a connection, as conn is for epoll. Its file in the table of
// direct descriptors follows from its slot. With its two timers in the wheel a connection takes
// 64 bytes.
type uconn struct {
	generation   uint32 // of the connection in this slot, or of the next
	link         int32  // while free: 1 + the next free slot; accepting: the accept; ended: why
	send         int32  // 1 + index in URing.sends; 0: nothing under way
	writeTimeout uint32 // milliseconds; 0: none
	receiveMax   uint32 // bytes in one Received; 0: the loop's share
	standing     standing
	state        connState
	hold         hold
	ops          uint8 // completions still to come
	flags        uflags
}

// accepting is the state of a slot that waits for a connection.
const accepting connState = refused + 1

// uflags is how receiving stands.
type uflags uint16

const (
	receiving  uflags = 1 << iota // a receive is with the kernel
	many                          // which goes on after a completion
	cancelling                    // and is to end
	queuedArm                     // the slot is on bank.rearm or bank.starved
	holding                       // URing.held has bytes of it
	watching                      // the kernel is to tell if it breaks, or is readable
	heard                         // something came since the last round of parking
	parking                       // it is to be watched, not received from
	aborted                       // Reset
)

// at returns the connection in a slot. The pointer stays good when the table grows.
func (l *URing) at(slot int32) *uconn {
	return &l.pages[slot>>pageBits][slot&(connsPerPage-1)]
}

// find returns the connection that a handle names, or nil if it has ended.
func (l *URing) find(h Handle) (int32, *uconn) {
	slot := int32(h.Slot())
	if int(slot)>>pageBits >= len(l.pages) || h.Loop() != l.id {
		return 0, nil
	}
	c := l.at(slot)
	if c.generation != h.Generation() || c.state != open && c.state != connecting {
		return 0, nil
	}
	return slot, c
}

// expect counts a completion to come.
func (l *URing) expect(c *uconn) {
	c.ops++
	l.ops++
}

// end closes the socket of a connection. tell says so when the kernel is done with it.
func (l *URing) end(slot int32, c *uconn, reason why) {
	l.wheel.stop(slot*timersPerConn + timerUser)
	l.wheel.stop(slot*timersPerConn + timerWrite)
	if c.flags&holding != 0 {
		delete(l.held, slot)
	}
	b, file := l.bank(slot)
	l.loud(slot, c)
	if c.flags&receiving != 0 {
		l.cancelReceive(slot, c)
	}
	if c.flags&watching != 0 {
		l.cancel(b, kindWatch, slot, c)
	}
	if c.state == connecting {
		l.cancel(b, kindConnect, slot, c)
		c.state = refused
	} else {
		switch {
		case c.send == 0:
		case reason == whyClosed && c.flags&aborted == 0 && l.sends[c.send-1].chunk != nil:
			l.leaveSend(slot, c)
		default:
			l.cancel(b, kindSend, slot, c)
		}
		c.state = closed
	}
	l.room(b).CloseFile(file, kindNone)
	b.closing = true
	c.link = int32(reason)
	l.endWhenDone(slot, c)
}

// endWhenDone has the end of a connection told if the kernel is done with it.
func (l *URing) endWhenDone(slot int32, c *uconn) {
	if c.ops == 0 {
		l.wheel.stop(slot*timersPerConn + timerWrite)
		l.ended = append(l.ended, slot)
	}
}

// cancel ends a request of a connection: its completion comes soon.
func (l *URing) cancel(b *bank, kind uint8, slot int32, c *uconn) {
	l.room(b).Cancel(userData(kind, slot, c.generation), kindNone)
}

// tell delivers the end of connections. What it calls may end others, which it tells too.
func (l *URing) tell() {
	if len(l.ended) == 0 {
		return
	}
	for i := 0; i < len(l.ended); i++ {
		slot := l.ended[i]
		c := l.at(slot)
		h := MakeHandle(l.id, int(slot), c.generation)
		reason := why(c.link)
		if c.send != 0 {
			l.giveUp(h, c, reason)
		}
		switch {
		case c.state == refused:
			l.handler.Connected(h, reason.cause())
		case reason == whyClosed:
			l.handler.Closed(h, nil)
		default:
			l.handler.Closed(h, reason.cause())
		}
		l.live--
		l.unreserve(slot, c)
	}
	l.ended = l.ended[:0]
}

// Close implements Loop.
func (l *URing) Close(h Handle) {
	if slot, c := l.find(h); c != nil {
		l.end(slot, c, whyClosed)
	}
}

// Reset implements Loop.
func (l *URing) Reset(h Handle) {
	if slot, c := l.find(h); c != nil {
		c.flags |= aborted
		l.linger(slot)
		l.end(slot, c, whyClosed)
	}
}

// lingerZero is struct linger, on with no time.
var lingerZero = [2]int32{1, 0}

// linger makes close send a RST and drop what the peer has not taken.
func (l *URing) linger(slot int32) {
	b, file := l.bank(slot)
	// An error leaves an ordinary close, which is not worth more than that.
	value := unsafe.Slice((*byte)(unsafe.Pointer(&lingerZero)), unsafe.Sizeof(lingerZero))
	l.room(b).SetOption(file, unix.SOL_SOCKET, unix.SO_LINGER, value, kindNone)
}

// SetTimeout implements Loop.
func (l *URing) SetTimeout(h Handle, d time.Duration) {
	slot, c := l.find(h)
	switch {
	case c == nil:
	case d > 0:
		l.wheel.set(slot*timersPerConn+timerUser, l.now, d)
	default:
		l.wheel.stop(slot*timersPerConn + timerUser)
	}
}

// LocalAddr implements Loop. It takes an ordinary descriptor for a moment.
func (l *URing) LocalAddr(h Handle) (netip.AddrPort, error) {
	slot, c := l.find(h)
	if c == nil {
		return netip.AddrPort{}, ErrClosed
	}
	fd, errno := l.borrow(slot, c)
	if errno != 0 {
		return netip.AddrPort{}, errno
	}
	defer unix.Close(int(fd))
	return localAddrOf(fd)
}

// RoundTrip implements Loop. It takes an ordinary descriptor for a moment.
func (l *URing) RoundTrip(h Handle) (time.Duration, bool) {
	slot, c := l.find(h)
	if c == nil || c.state != open {
		return 0, false
	}
	fd, errno := l.borrow(slot, c)
	if errno != 0 {
		return 0, false
	}
	defer unix.Close(int(fd))
	return roundTrip(fd)
}

// borrow makes an ordinary descriptor of a connection's socket, which the caller closes.
func (l *URing) borrow(slot int32, c *uconn) (int32, unix.Errno) {
	b, file := l.bank(slot)
	data := userData(kindCall, slot, c.generation)
	l.room(b).Install(file, data)
	b.submit()
	res := -int32(unix.EAGAIN) // the queue of completions is too full to see it
	b.ring.Each(func(cqe *uring.CQE) bool {
		if cqe.UserData != data {
			return true
		}
		res, cqe.UserData = cqe.Res, kindNone
		return false
	})
	if res < 0 {
		return -1, unix.Errno(-res)
	}
	return res, 0
}
