package netpoll

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// conn is what the loop knows of a connection. A hundred thousand of them are idle, so it is
// small, and it holds no pointer, so that the garbage collector does not read it. With its
// two timers in the wheel a connection takes 64 bytes.
type conn struct {
	fd           int32
	generation   uint32 // of the connection in this slot, or of the next
	link         int32  // while free: 1 + the next free slot
	send         int32  // 1 + index in Epoll.sends; 0: no send in flight
	writeTimeout uint32 // milliseconds; 0: none
	receiveMax   uint32 // bytes in one Received; 0: the loop's share
	standing     standing
	state        connState
	hold         hold
	watched      uint8 // what epoll watches for: unix.EPOLLIN | unix.EPOLLOUT
	_            uint8
}

// connState is one of the rows of the table in doc.go.
type connState uint8

const (
	unused     connState = iota // the slot is on the free list, or was never used
	connecting                  // Connect began, Connected has not been told
	open                        // Accepted or Connected was told
	closed                      // the socket is gone, Closed has not been told
	refused                     // the same for one that never was open: Connected follows
)

// hold says why nothing is received.
type hold uint8

const (
	holdPaused hold = 1 << iota // PauseReceive
	holdEnded                   // the peer's FIN was told
)

// The timers of a slot in the wheel are numbered timersPerConn*slot + one of these.
const (
	timerUser = iota
	timerWrite
	timersPerConn
)

// why is the reason of an end in two bytes: an errno, or one of these.
type why uint16

const (
	whyClosed       why = 0 // by Close or Reset
	whyWriteTimeout why = 0xfffe
	whyStopped      why = 0xffff
)

// cause is the error told by Sent and Connected.
func (w why) cause() error {
	switch w {
	case whyClosed:
		return ErrClosed
	case whyWriteTimeout:
		return ErrWriteTimeout
	case whyStopped:
		return ErrStopped
	}
	return unix.Errno(w)
}

// at returns the connection in a slot. The pointer stays good when the table grows.
func (l *Epoll) at(slot int32) *conn {
	return &l.pages[slot>>pageBits][slot&(connsPerPage-1)]
}

// find returns the connection that a handle names, or nil if it has ended.
func (l *Epoll) find(h Handle) (int32, *conn) {
	slot := int32(h.Slot())
	if slot >= l.slots || h.Loop() != l.id {
		return 0, nil
	}
	c := l.at(slot)
	if c.generation != h.Generation() || c.state != open && c.state != connecting {
		return 0, nil
	}
	return slot, c
}

// take puts a socket into a free slot and has it watched. It takes over the descriptor only
// if it succeeds.
func (l *Epoll) take(fd int32, state connState, watch uint8) (Handle, *conn, error) {
	if l.live >= l.maxConns {
		return 0, nil, ErrTooMany
	}
	slot := l.free - 1
	if slot < 0 {
		slot = l.slots
		if int(slot)>>pageBits == len(l.pages) {
			l.pages = append(l.pages, new([connsPerPage]conn))
			l.wheel.grow(len(l.pages) * connsPerPage * timersPerConn)
		}
		l.at(slot).generation = 1
	}
	c := l.at(slot)
	errno := control(l.epoll, unix.EPOLL_CTL_ADD, fd, uint32(watch), slot, c.generation)
	if errno != 0 {
		return 0, nil, errno
	}
	if slot == l.slots {
		l.slots++
	} else {
		l.free = c.link
	}
	*c = conn{fd: fd, generation: c.generation, state: state, watched: watch}
	l.live++
	return MakeHandle(l.id, int(slot), c.generation), c, nil
}

// end closes the socket of a connection; tell says so later. Events that epoll has already
// reported for it find another state, or another generation.
func (l *Epoll) end(slot int32, c *conn, reason why) {
	l.wheel.stop(slot*timersPerConn + timerUser)
	l.wheel.stop(slot*timersPerConn + timerWrite)
	// Closing takes the socket out of epoll: nobody else has a copy of the descriptor.
	unix.Close(int(c.fd))
	if c.state == connecting {
		c.state = refused
	} else {
		c.state = closed
	}
	c.fd = -1
	c.link = int32(reason)
	l.ended = append(l.ended, slot)
}

// tell delivers the end of connections. What it calls may end others, which it tells too.
func (l *Epoll) tell() {
	if len(l.ended) == 0 {
		return
	}
	for i := 0; i < len(l.ended); i++ {
		slot := l.ended[i]
		c := l.at(slot)
		h := MakeHandle(l.id, int(slot), c.generation)
		reason := why(c.link)
		if c.send != 0 {
			b, n := l.land(c)
			l.handler.Sent(h, b, n, reason.cause())
		}
		switch {
		case c.state == refused:
			l.handler.Connected(h, reason.cause())
		case reason == whyClosed:
			l.handler.Closed(h, nil)
		default:
			l.handler.Closed(h, reason.cause())
		}
		l.release(slot, c)
	}
	l.ended = l.ended[:0]
}

// release makes a slot free for a connection of the next generation.
func (l *Epoll) release(slot int32, c *conn) {
	generation := c.generation + 1
	if generation == 0 {
		generation = 1
	}
	*c = conn{generation: generation, link: l.free}
	l.free = slot + 1
	l.live--
}

// watch tells epoll what the connection waits for, if that has changed.
func (l *Epoll) watch(slot int32, c *conn, events uint8) {
	if events == c.watched {
		return
	}
	c.watched = events
	errno := control(l.epoll, unix.EPOLL_CTL_MOD, c.fd, uint32(events), slot, c.generation)
	if errno != 0 {
		l.end(slot, c, why(errno))
	}
}

// wants is what an open connection waits for.
func (c *conn) wants() uint8 {
	var events uint8
	if c.hold == 0 {
		events = unix.EPOLLIN
	}
	if c.send != 0 {
		events |= unix.EPOLLOUT
	}
	return events
}

// Close implements Loop.
func (l *Epoll) Close(h Handle) {
	if slot, c := l.find(h); c != nil {
		l.end(slot, c, whyClosed)
	}
}

// Reset implements Loop.
func (l *Epoll) Reset(h Handle) {
	if slot, c := l.find(h); c != nil {
		linger(c.fd)
		l.end(slot, c, whyClosed)
	}
}

// linger makes close send a RST and drop what the peer has not taken.
func linger(fd int32) {
	// An error leaves an ordinary close, which is not worth more than that.
	_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// PauseReceive implements Loop.
func (l *Epoll) PauseReceive(h Handle) {
	if _, c := l.find(h); c != nil {
		// epoll is told only when something arrives: a pause that ends before costs nothing.
		c.hold |= holdPaused
	}
}

// ResumeReceive implements Loop.
func (l *Epoll) ResumeReceive(h Handle) {
	slot, c := l.find(h)
	if c == nil || c.hold&holdPaused == 0 {
		return
	}
	c.hold &^= holdPaused
	if c.state == open {
		l.watch(slot, c, c.wants()|c.watched&unix.EPOLLOUT)
	}
}

// SetReceiveMax implements Loop. More than the loop's share is cut to it.
func (l *Epoll) SetReceiveMax(h Handle, n int) {
	if _, c := l.find(h); c != nil {
		c.receiveMax = uint32(min(max(n, 0), l.receiveBytes))
	}
}

// SetTimeout implements Loop.
func (l *Epoll) SetTimeout(h Handle, d time.Duration) {
	slot, c := l.find(h)
	switch {
	case c == nil:
	case d > 0:
		l.wheel.set(slot*timersPerConn+timerUser, l.now, d)
	default:
		l.wheel.stop(slot*timersPerConn + timerUser)
	}
}

// LocalAddr implements Loop.
func (l *Epoll) LocalAddr(h Handle) (netip.AddrPort, error) {
	_, c := l.find(h)
	if c == nil {
		return netip.AddrPort{}, ErrClosed
	}
	return localAddrOf(c.fd)
}

// RoundTrip implements Loop.
func (l *Epoll) RoundTrip(h Handle) (time.Duration, bool) {
	_, c := l.find(h)
	if c == nil || c.state != open {
		return 0, false
	}
	return roundTrip(c.fd)
}
