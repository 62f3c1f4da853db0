package netpoll

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// flight is a send that the kernel has not taken whole.
type flight struct {
	buf    []byte
	taken  int
	queued int // bytes in the kernel, not acknowledged, when the write timer was started
}

// connReady handles an event of epoll.
func (l *Epoll) connReady(slot int32, generation uint32, events uint32) {
	c := l.at(slot)
	if c.generation != generation {
		return // of the previous connection in this slot
	}
	if c.state == connecting {
		l.connected(slot, c)
		return
	}
	if events&unix.EPOLLOUT != 0 && c.state == open && c.send != 0 {
		l.sendMore(slot, c)
	}
	broken := events&(unix.EPOLLERR|unix.EPOLLHUP) != 0
	if c.generation != generation || c.state != open {
		return
	}
	switch {
	case c.hold == 0 && (broken || events&unix.EPOLLIN != 0):
		// Of a reset connection too: what came before the reset can still be received.
		l.receive(slot, c, broken)
	case broken:
		l.breakOff(slot, c)
	default:
		// A pause takes effect when something arrives.
		l.watch(slot, c, c.wants())
	}
}

// receive takes one share of what has arrived. broken says that the socket has an error,
// which is found when there is nothing left to receive.
func (l *Epoll) receive(slot int32, c *conn, broken bool) {
	share := l.receiveBytes
	if c.receiveMax != 0 {
		share = int(c.receiveMax)
	}
	room := l.arena[l.received:min(l.received+share, len(l.arena))]
	n, errno := receive(c.fd, room)
	l.stats.Receives++
	switch {
	case errno == 0 && n > 0:
		l.stats.ReceiveBytes += uint64(n)
		if change := c.standing.received(n == len(room), l.now); change != bufferStays {
			keepReceiveBuffer(c.fd, change == bufferKept)
		}
		l.received = min(l.received+(n+arenaAlignBytes-1)&^(arenaAlignBytes-1), len(l.arena))
		l.handler.Received(MakeHandle(l.id, int(slot), c.generation), room[:n:n])
	case errno == 0:
		// epoll reports it once more, to be told then that nothing more is wanted; most
		// connections are closed before that.
		c.hold |= holdEnded
		l.handler.Received(MakeHandle(l.id, int(slot), c.generation), nil)
	case errno == unix.EAGAIN && broken:
		l.breakOff(slot, c)
	case errno == unix.EAGAIN || errno == unix.EINTR:
		// Reported before a cut turn and taken meanwhile; or epoll reports it again.
	default:
		l.end(slot, c, why(errno))
	}
}

// breakOff ends a connection that epoll reports as broken and that has nothing to receive.
func (l *Epoll) breakOff(slot int32, c *conn) {
	errno := socketError(c.fd)
	if errno == 0 {
		// Nothing can come of it any more, and epoll would go on reporting it.
		errno = unix.ECONNRESET
	}
	l.end(slot, c, why(errno))
}

// Send implements Loop.
func (l *Epoll) Send(h Handle, b []byte) bool {
	slot, c := l.find(h)
	if c == nil || len(b) == 0 {
		return true
	}
	if c.send != 0 {
		panic("netpoll: Send before Sent of the last one")
	}
	n, errno := 0, unix.EAGAIN
	if c.state == open {
		n, errno = send(c.fd, b)
		l.stats.Sends++
	}
	if errno == 0 {
		l.stats.SendBytes += uint64(n)
		if n == len(b) {
			return true
		}
	} else {
		n = 0
	}
	l.stats.SendBlocked++
	l.launch(c, b, n)
	switch {
	case errno != 0 && errno != unix.EAGAIN && errno != unix.EINTR:
		l.end(slot, c, why(errno))
	case c.state == open:
		l.startWriteTimer(slot, c)
		l.watch(slot, c, c.watched|unix.EPOLLOUT)
	}
	return false
}

// sendMore goes on with the send in flight, and tells when it is through.
func (l *Epoll) sendMore(slot int32, c *conn) {
	f := &l.sends[c.send-1]
	n, errno := send(c.fd, f.buf[f.taken:])
	l.stats.Sends++
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return
	case errno != 0:
		l.end(slot, c, why(errno))
		return
	}
	l.stats.SendBytes += uint64(n)
	f.taken += n
	if f.taken < len(f.buf) {
		l.startWriteTimer(slot, c)
		return
	}
	l.wheel.stop(slot*timersPerConn + timerWrite)
	b, _ := l.land(c)
	generation := c.generation
	l.handler.Sent(MakeHandle(l.id, int(slot), generation), b, len(b), nil)
	// Only now, because the handler often sends again at once, and that may block too.
	if c.generation == generation && c.state == open {
		l.watch(slot, c, c.wants()|c.watched&unix.EPOLLIN)
	}
}

// sendExpired ends a connection whose send makes no progress. epoll reports a socket as
// writable only when a good part of what it may hold is free, which a slow peer may not
// achieve in the time; what it has acknowledged tells it from a dead one.
func (l *Epoll) sendExpired(slot int32, c *conn) {
	if unacknowledged(c.fd) < l.sends[c.send-1].queued {
		l.startWriteTimer(slot, c)
		return
	}
	// What the kernel holds for this peer will not be wanted; an ordinary close would keep
	// megabytes of it for minutes.
	linger(c.fd)
	l.end(slot, c, whyWriteTimeout)
}

// launch notes a send in flight, land forgets it.
func (l *Epoll) launch(c *conn, b []byte, taken int) {
	if last := len(l.idle) - 1; last >= 0 {
		c.send = l.idle[last]
		l.idle = l.idle[:last]
		l.sends[c.send-1] = flight{buf: b, taken: taken}
		return
	}
	l.sends = append(l.sends, flight{buf: b, taken: taken})
	c.send = int32(len(l.sends))
}

func (l *Epoll) land(c *conn) ([]byte, int) {
	f := l.sends[c.send-1]
	l.sends[c.send-1] = flight{}
	l.idle = append(l.idle, c.send)
	c.send = 0
	return f.buf, f.taken
}

// SetWriteTimeout implements Loop.
func (l *Epoll) SetWriteTimeout(h Handle, d time.Duration) {
	slot, c := l.find(h)
	if c == nil {
		return
	}
	ms := (max(d, 0) + time.Millisecond - 1) / time.Millisecond
	c.writeTimeout = uint32(min(ms, math.MaxUint32))
	l.wheel.stop(slot*timersPerConn + timerWrite)
	if c.send != 0 && c.state == open {
		l.startWriteTimer(slot, c)
	}
}

// startWriteTimer begins the wait for the next progress of a send in flight.
func (l *Epoll) startWriteTimer(slot int32, c *conn) {
	if c.writeTimeout == 0 {
		return
	}
	l.sends[c.send-1].queued = unacknowledged(c.fd)
	d := time.Duration(c.writeTimeout) * time.Millisecond
	l.wheel.set(slot*timersPerConn+timerWrite, l.now, d)
}
