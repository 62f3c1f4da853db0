package netpoll

import (
	"math"
	"time"

	"golang.org/x/sys/unix"

	"derpd/netpoll/internal/uring"
)

// A Send is copied and is over for the handler, or, if it is long, or something is under way
// already, it stays the handler's buffer until Sent. Copied bytes are under way until the kernel
// has taken them, which it nearly always has when the turn's submission returns. So Send tells
// what it would tell with a plain system call: false means that the peer holds things up. And as
// with a system call, what it has taken still leaves when the handler closes the connection.

// passage is what is under way from a connection to the kernel.
type passage struct {
	b     []byte // with the kernel: a part of chunk, or the handler's
	chunk []byte // of URing.copies; nil: b is the handler's
	next  []byte // the handler's, waiting behind a chunk
	taken int    // bytes of b
	// queued is the number of bytes in the kernel, not acknowledged, when the write timer was
	// started; -1 until the kernel has answered.
	queued   int
	looks    uint8 // at what is not acknowledged, since then: it was as much
	sqe      *uring.SQE
	number   uint32 // of sqe
	quiet    bool   // sqe completes only if the kernel does not take all of b
	passed   bool   // a completion is there, but has not been handled
	blocked  bool   // the kernel did not take b at once
	checking bool   // the kernel is asked whether the peer has taken anything
}

// Send implements Loop.
func (l *URing) Send(h Handle, b []byte) bool {
	slot, c := l.find(h)
	if c == nil || len(b) == 0 {
		return true
	}
	if bank, _ := l.bank(slot); c.send != 0 {
		if p := &l.sends[c.send-1]; p.quiet && !p.passed && bank.ring.Submitted(p.number) {
			l.settle()
		}
	}
	if c.send != 0 {
		return l.sendBehind(slot, &l.sends[c.send-1], b)
	}
	p := l.launch(c)
	p.b = b
	if c.state != open {
		return false // connected submits it
	}
	if chunk := l.copies.get(len(b)); chunk != nil {
		p.chunk = chunk
		p.b = chunk[:copy(chunk, b)]
	}
	l.submitSend(slot, c, p)
	return p.chunk != nil
}

// sendBehind is Send while something is under way.
func (l *URing) sendBehind(slot int32, p *passage, b []byte) bool {
	if p.chunk == nil || p.next != nil {
		panic("netpoll: Send before Sent of the last one")
	}
	have := len(p.b)
	if bank, _ := l.bank(slot); !p.blocked && !bank.ring.Submitted(p.number) {
		if have+len(b) <= len(p.chunk) {
			p.b = p.chunk[:have+copy(p.chunk[have:], b)]
			p.sqe.Extend(len(b))
			return true
		}
		if p.quiet { // it comes to sending the next, and that is a turn's
			p.quiet = false
			p.sqe.AtOnce()
		}
	}
	p.next = b
	return false
}

// submitSend asks the kernel to take the rest of p.b: at once, or, if it is known that there is no
// room, when there is.
func (l *URing) submitSend(slot int32, c *uconn, p *passage) {
	b, file := l.bank(slot)
	ring := l.room(b)
	p.number = ring.Given()
	p.sqe = ring.Send(file, p.b[p.taken:], p.chunk != nil, userData(kindSend, slot, c.generation))
	p.passed = false
	switch p.quiet = p.chunk != nil && !p.blocked; {
	case p.quiet:
		p.sqe.Quiet()
		l.asked = append(l.asked, slot)
	case !p.blocked:
		p.sqe.AtOnce()
	}
	b.expects = true
	l.expect(c)
	l.stats.Sends++
}

// sent handles the completion of a send.
func (l *URing) sent(slot int32, c *uconn, res int32) {
	p := &l.sends[c.send-1]
	if res < 0 {
		l.end(slot, c, why(-res))
		return
	}
	l.stats.SendBytes += uint64(res)
	p.taken += int(res)
	if p.taken < len(p.b) {
		l.block(slot, c, p) // first: from now on the kernel is to wait for room
		l.submitSend(slot, c, p)
		return
	}
	l.through(slot, c, p)
}

// through ends a passage: the kernel has taken all of it.
func (l *URing) through(slot int32, c *uconn, p *passage) {
	if p.blocked {
		l.wheel.stop(slot*timersPerConn + timerWrite)
	}
	if p.chunk == nil {
		b := p.b
		l.land(c)
		l.handler.Sent(MakeHandle(l.id, int(slot), c.generation), b, len(b), nil)
		return
	}
	next, blocked := p.next, p.blocked
	l.land(c)
	if next != nil {
		p = l.launch(c)
		p.b, p.blocked = next, blocked
		l.submitSend(slot, c, p)
		if blocked { // the same hold-up goes on
			l.startWriteTimer(slot, c, p)
		}
	}
}

// settle looks after a submission for copied sends that are through, without a turn, and before a
// handler method could find them under way.
func (l *URing) settle() {
	if len(l.asked) == 0 {
		return
	}
	for _, b := range l.banks {
		for b.ring.Overflowed() {
			b.ring.Stash()
			b.submit()
		}
		b.ring.Each(l.notePassed)
	}
	// What follows submits nothing, of which nothing would be known yet: no quiet send has another
	// behind it.
	later := l.asked[:0]
	for _, slot := range l.asked {
		c := l.at(slot)
		if c.send == 0 {
			continue
		}
		p := &l.sends[c.send-1]
		b, _ := l.bank(slot)
		switch {
		case !p.quiet || p.passed:
		case !b.ring.Submitted(p.number):
			later = append(later, slot)
		default:
			l.took(slot, c, p)
		}
	}
	l.asked = later
}

// notePassed notes a completion that is there. It goes on to the next one.
func (l *URing) notePassed(cqe *uring.CQE) bool {
	if cqe.UserData>>56 == kindSend {
		c := l.at(int32(cqe.UserData >> 32 & 0xffffff))
		if c.generation == uint32(cqe.UserData) && c.send != 0 {
			l.sends[c.send-1].passed = true
		}
	}
	return true
}

// took handles a quiet send of which the kernel has taken all.
func (l *URing) took(slot int32, c *uconn, p *passage) {
	c.ops--
	l.ops--
	l.stats.SendBytes += uint64(len(p.b))
	l.through(slot, c, p)
}

// loud sees to it that a copied send of a connection which is about to be closed is with the
// kernel to the end, waiting for room if need be, and ends with a completion. The kernel forgets
// the file of a connection with its close: what a first try has left could not be sent after it.
func (l *URing) loud(slot int32, c *uconn) {
	if c.send == 0 {
		return
	}
	b, _ := l.bank(slot)
	p := &l.sends[c.send-1]
	switch {
	case p.chunk == nil || p.blocked:
		return // no copy, or no first try
	case !b.ring.Submitted(p.number):
		p.quiet = false
		p.sqe.Loud()
		return
	}
	l.settle() // which has taken in what overflowed since the send was submitted
	if c.send == 0 {
		return
	}
	p = &l.sends[c.send-1]
	data := userData(kindSend, slot, c.generation)
	b.ring.Each(func(cqe *uring.CQE) bool {
		if cqe.UserData != data {
			return true
		}
		n := int(max(cqe.Res, 0))
		if (cqe.Res >= 0 || cqe.Res == -int32(unix.EAGAIN)) && n < len(p.b)-p.taken {
			cqe.UserData = kindNone
			c.ops--
			l.ops--
			l.stats.SendBytes += uint64(n)
			l.stats.SendBlocked++
			p.taken += n
			p.blocked = true
			l.submitSend(slot, c, p)
		}
		return false
	})
}

// block notes that the peer holds up a send, from which the write timeout counts.
func (l *URing) block(slot int32, c *uconn, p *passage) {
	if !p.blocked {
		p.blocked = true
		l.stats.SendBlocked++
	}
	l.startWriteTimer(slot, c, p)
}

// startWriteTimer begins the wait for the next progress of a send.
func (l *URing) startWriteTimer(slot int32, c *uconn, p *passage) {
	if c.writeTimeout == 0 {
		return
	}
	p.queued, p.looks = -1, 0
	p.checking = false
	l.askUnsent(slot, c, kindQueued)
	l.lookLater(slot, c)
}

// lookLater sets the write timer to the next look.
func (l *URing) lookLater(slot int32, c *uconn) {
	d := time.Duration(c.writeTimeout) * time.Millisecond / looksPerTimeout
	l.wheel.set(slot*timersPerConn+timerWrite, l.now, d)
}

// askUnsent asks how many bytes the peer has not acknowledged.
func (l *URing) askUnsent(slot int32, c *uconn, kind uint8) {
	b, file := l.bank(slot)
	l.room(b).Unsent(file, userData(kind, slot, c.generation))
	b.expects = true
	l.expect(c)
}

// queued notes the unacknowledged bytes at the beginning of a write timeout.
func (l *URing) queued(c *uconn, res int32) {
	if c.send != 0 {
		l.sends[c.send-1].queued = int(res)
	}
}

// sendExpired asks whether the peer has taken anything. The kernel goes on with a send only when a
// good part of what it may hold is free, which a slow peer may not achieve in the time; what it has
// acknowledged tells it from a dead one.
func (l *URing) sendExpired(slot int32, c *uconn) {
	if c.send == 0 {
		return // a closed connection had nothing more to send
	}
	if c.state == closed { // it was to be closed when a last send is through
		b, _ := l.bank(slot)
		l.cancel(b, kindSend, slot, c)
		return
	}
	l.sends[c.send-1].checking = true
	l.askUnsent(slot, c, kindProgress)
}

// progress ends a connection whose peer has taken nothing for one and a half write timeouts. Less
// that is not acknowledged is progress, and so is more: then the peer has made room, and the kernel
// has taken from the send what no completion tells of before it is whole. As much at every look is
// none.
func (l *URing) progress(slot int32, c *uconn, res int32) {
	if c.send == 0 || !l.sends[c.send-1].checking {
		return // the send went on meanwhile
	}
	p := &l.sends[c.send-1]
	if res >= 0 && int(res) != p.queued {
		l.startWriteTimer(slot, c, p)
		return
	}
	if p.looks++; res >= 0 && p.looks < looksMax {
		p.checking = false
		l.lookLater(slot, c)
		return
	}
	// What the kernel holds for this peer will not be wanted; an ordinary close would keep
	// megabytes of it for minutes.
	l.linger(slot)
	l.end(slot, c, whyWriteTimeout)
}

// leaveSend lets a send that was told to be taken go on after Close. The socket is closed when the
// request that still uses it has ended, which its write timeout forces in the end.
func (l *URing) leaveSend(slot int32, c *uconn) {
	d := time.Duration(c.writeTimeout) * time.Millisecond
	if d == 0 {
		d = leaveMax
	}
	l.wheel.set(slot*timersPerConn+timerWrite, l.now, d)
}

// launch begins a passage, land ends it.
func (l *URing) launch(c *uconn) *passage {
	if last := len(l.idle) - 1; last >= 0 {
		c.send = l.idle[last]
		l.idle = l.idle[:last]
	} else {
		l.sends = append(l.sends, passage{})
		c.send = int32(len(l.sends))
	}
	return &l.sends[c.send-1]
}

func (l *URing) land(c *uconn) {
	p := &l.sends[c.send-1]
	if p.chunk != nil {
		l.copies.put(p.chunk)
	}
	*p = passage{}
	l.idle = append(l.idle, c.send)
	c.send = 0
}

// giveUp tells the handler of a buffer of its that a connection which has ended still had.
func (l *URing) giveUp(h Handle, c *uconn, reason why) {
	p := l.sends[c.send-1]
	l.land(c)
	switch {
	case p.next != nil:
		l.handler.Sent(h, p.next, 0, reason.cause())
	case p.chunk != nil:
	case p.taken == len(p.b):
		l.handler.Sent(h, p.b, p.taken, nil)
	default:
		l.handler.Sent(h, p.b, p.taken, reason.cause())
	}
}

// SetWriteTimeout implements Loop.
func (l *URing) SetWriteTimeout(h Handle, d time.Duration) {
	slot, c := l.find(h)
	if c == nil {
		return
	}
	ms := (max(d, 0) + time.Millisecond - 1) / time.Millisecond
	c.writeTimeout = uint32(min(ms, math.MaxUint32))
	l.wheel.stop(slot*timersPerConn + timerWrite)
	if c.send != 0 && c.state == open {
		if p := &l.sends[c.send-1]; p.blocked {
			l.startWriteTimer(slot, c, p)
		}
	}
}
