package fakepoll

import (
	"net/netip"
	"syscall"
	"time"

	"derpd/netpoll"
)

// conn is the loop's end of a connection.
//
//	connecting --> open    the Connect succeeded: Connected(nil)
//	connecting --> gone    refused, Close, Stop: Connected(err)
//	(accept)   --> open    Accepted
//	open       --> ended   reset by the far side, write timeout, Close, Reset, Stop
//	ended      --> gone    Sent for what was in flight, then Closed
type conn struct {
	loop  *Loop
	peer  *Peer // nil until a Connect is decided
	h     netpoll.Handle
	local netip.AddrPort

	queued     bool // in the loop's ready list, or in the batch being served
	connecting bool // Connected is due
	decided    bool // the outcome of the Connect is known
	ended      bool // nothing but the ends of what was begun follows
	failed     bool // Sent told an error
	owner      bool // ended by Close or Reset of the handler
	gone       bool // the last word was said
	paused     bool // PauseReceive
	late       bool // one more Received although paused
	filled     bool // one more Received beyond receiveMax
	finTold    bool // the end of the peer's stream was delivered
	timeoutDue bool

	receiveMax int // bytes of one Received; 0: the world's own bound

	remote     netip.AddrPort // of a Connect
	connectErr error          // outcome of the Connect
	cause      error          // for Closed
	sendErr    error          // for Sent (or Connected) when ended

	sending      bool   // a buffer is in flight
	sent         bool   // all of it was taken and Sent is due
	stalled      bool   // waits for the peer to read
	buf          []byte // in flight
	off          int    // taken of it
	sum          uint32 // of buf when it was given away
	writeTimeout time.Duration
	progress     time.Duration // when the latest bytes were taken

	timeout  timer
	write    timer
	transfer timer // timerTransmit; of a Connect until it is decided, timerConnect
}

func newConn(l *Loop) *conn {
	c := &conn{loop: l}
	c.timeout = timer{kind: timerTimeout, conn: c}
	c.write = timer{kind: timerWrite, conn: c}
	c.transfer = timer{kind: timerTransmit, conn: c}
	return c
}

// accepted announces a connection that has got its slot.
func (c *conn) accepted(p *Peer) {
	l := c.loop
	c.peer, c.local = p, l.world.listenAddr(p.listener)
	p.conn, p.h, p.accepted = c, c.h, true
	p.touch()
	l.stats.Accepts++
	l.world.note(eventAccepted, l, c.h, p.listener, nil, nil)
	l.handler.Accepted(c.h, p.listener, p.remote)
	c.wantTurn()
}

// wantTurn makes the connection ready if there is anything to deliver.
func (c *conn) wantTurn() {
	want := c.ended || c.sent || c.timeoutDue || c.decided && c.connecting
	if p := c.peer; p != nil && !c.connecting {
		want = want || p.reset || c.reading() && (p.toLoop.len() > 0 || p.fin && !c.finTold)
	}
	if want {
		c.loop.enqueue(c)
	}
}

func (c *conn) reading() bool { return !c.paused || c.late }

// deliver gives the handler what is due. False: the arena is full and the turn is cut.
func (c *conn) deliver() bool {
	whole := true
	first := c.loop.world.rng.IntN(3)
	for i := range 3 {
		switch (first + i) % 3 {
		case 0:
			c.deliverTimeout()
		case 1:
			c.deliverSent()
		case 2:
			whole = c.receive()
		}
	}
	switch {
	case c.ended:
		c.finish(c.loop.world.chance(c.loop.world.faults.SplitClose))
	case c.connecting && c.decided:
		c.deliverConnected()
	case !c.connecting && c.peer.reset && (c.peer.toLoop.len() == 0 || !c.reading()):
		c.end(syscall.ECONNRESET, syscall.ECONNRESET)
	}
	if !c.gone {
		c.wantTurn()
	}
	return whole
}

func (c *conn) deliverTimeout() {
	if c.ended || !c.timeoutDue {
		return
	}
	c.timeoutDue = false
	c.loop.world.note(eventTimeout, c.loop, c.h, 0, nil, nil)
	c.loop.handler.Timeout(c.h)
}

func (c *conn) deliverConnected() {
	if c.connectErr != nil {
		c.end(nil, c.connectErr)
		c.finish(false)
		return
	}
	c.connecting = false
	c.peer.accepted = true
	c.peer.touch()
	c.loop.world.note(eventConnected, c.loop, c.h, 0, nil, nil)
	c.loop.handler.Connected(c.h, nil)
}

// receive delivers what has arrived. False: no room is left in the arena.
func (c *conn) receive() bool {
	l, w, p := c.loop, c.loop.world, c.peer
	for range receivesPerTurnMax {
		if c.ended || c.connecting || !c.reading() {
			return true
		}
		n := min(p.toLoop.len(), c.receiveBound())
		if n == 0 {
			c.receiveEnd()
			return true
		}
		room := l.arena.room()
		if room == 0 {
			return false
		}
		if !p.reset && w.chance(w.faults.Reset) {
			p.cutWire()
			return true
		}
		n = min(n, room)
		short := w.chance(w.faults.ShortRead)
		if short {
			n = w.part(n)
		}
		b := l.arena.cut(n)
		p.take(b)
		c.late, c.filled = false, false
		l.stats.Receives++
		l.stats.ReceiveBytes += uint64(n)
		w.note(eventReceived, l, c.h, n, b, nil)
		l.handler.Received(c.h, b)
		if short {
			return true
		}
	}
	return true
}

// receiveBound is the most that the next Received may give.
func (c *conn) receiveBound() int {
	if c.receiveMax == 0 || c.filled {
		return receiveMaxBytes
	}
	return min(c.receiveMax, receiveMaxBytes)
}

// receiveEnd tells once that the peer's stream has ended.
func (c *conn) receiveEnd() {
	if p := c.peer; !p.fin || p.reset || c.finTold {
		return
	}
	c.finTold, c.late = true, false
	c.loop.world.note(eventReceived, c.loop, c.h, 0, nil, nil)
	c.loop.handler.Received(c.h, nil)
}

// close is Close and Reset of the handler.
func (c *conn) close(reset bool) {
	if c.ended {
		return
	}
	c.owner = true
	c.end(nil, netpoll.ErrClosed)
	if p := c.peer; p != nil {
		w := c.loop.world
		p.loopEnded(reset || c.connecting || p.toLoop.len() > 0 && w.chance(w.faults.RudeClose))
	}
}

// end stops everything; what remains is to tell the handler.
func (c *conn) end(cause, sendErr error) {
	c.ended, c.cause, c.sendErr = true, cause, sendErr
	w := c.loop.world
	w.timers.stop(&c.timeout)
	w.timers.stop(&c.write)
	w.timers.stop(&c.transfer)
	c.loop.enqueue(c)
}

// finish tells the handler of the end. If split, and a Sent was due, Closed comes later.
func (c *conn) finish(split bool) {
	l := c.loop
	if c.connecting {
		l.world.note(eventConnected, l, c.h, 0, nil, c.sendErr)
		l.handler.Connected(c.h, c.sendErr)
		l.release(c)
		return
	}
	if c.sending {
		c.giveBack()
		if split {
			return
		}
	}
	l.world.note(eventClosed, l, c.h, 0, nil, c.cause)
	l.handler.Closed(c.h, c.cause)
	l.release(c)
}

// stop ends the connection because its loop ends.
func (c *conn) stop() {
	if !c.ended {
		c.end(netpoll.ErrStopped, netpoll.ErrStopped)
		if c.peer != nil {
			c.peer.loopEnded(c.connecting || c.loop.world.rng.IntN(2) == 0)
		}
	}
	c.finish(false)
}
