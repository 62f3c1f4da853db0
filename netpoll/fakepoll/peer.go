package fakepoll

import (
	"net/netip"

	"derpd/netpoll"
)

// Peer is the far end of one connection.
type Peer struct {
	world    *World
	loop     *Loop
	conn     *conn // the loop's end; nil until accepted
	link     *Peer // of a connection between two loops: the other loop's far end
	remote   netip.AddrPort
	listener int
	h        netpoll.Handle

	toLoop   stream // written and not yet received
	toPeer   stream // taken by the kernel and not yet read
	window   int    // bytes toPeer may hold; negative: no bound of its own
	lost     int    // bytes of toPeer that a reset destroyed
	frozen   bool
	fin      bool // CloseWrite
	reset    bool // the loop's end will learn of a reset
	closed   bool // the loop's side has ended
	rst      bool // this end knows of a reset
	accepted bool
	listed   bool // in World.news
}

// Dial lets a peer connect from remote to a listener of l. The accept comes sooner or later,
// in the order of Dial; until then Write works as it does in TCP. On a loop that has ended
// the peer is refused: Closed at once.
func (w *World) Dial(l *Loop, listener int, remote netip.AddrPort) *Peer {
	p := &Peer{world: w, loop: l, remote: remote, listener: listener, window: -1}
	if l.ended.Load() {
		p.cutOff()
		return p
	}
	at := w.now
	if w.chance(w.faults.AcceptDelay) {
		at += w.lag()
	}
	l.lastArrival = max(l.lastArrival, at)
	l.backlog = append(l.backlog, arrival{p, l.lastArrival})
	if l.acceptTimer.pos == 0 {
		l.acceptable = true
	}
	return p
}

// Write sends b to the loop. Like a write to a socket it succeeds although nobody may ever
// read it; after CloseWrite or a reset it does nothing.
func (p *Peer) Write(b []byte) {
	switch {
	case len(b) == 0 || p.fin || p.reset || p.rst:
	case p.closed: // TCP answers bytes for a closed socket with a reset
		p.rst = true
		p.touch()
		if p.link != nil {
			p.link.resetLoop()
		}
	default:
		p.toLoop.add(b)
		p.wantTurn()
	}
}

// Read takes up to max of the bytes that have arrived; they belong to the caller. A frozen
// peer reads nothing.
func (p *Peer) Read(max int) []byte {
	n := min(max, p.toPeer.len())
	if p.frozen || n <= 0 {
		return nil
	}
	b := p.toPeer.take(n)
	if p.conn != nil {
		p.conn.roomOpened()
	}
	return b
}

// Buffered is the number of bytes that have arrived and were not read.
func (p *Peer) Buffered() int { return p.toPeer.len() }

// Unreceived is the number of bytes written that the loop has not received.
func (p *Peer) Unreceived() int { return p.toLoop.len() }

// SetWindow bounds the bytes that may have arrived unread: beyond it the loop's Send blocks.
// Negative is no bound, which is the start.
func (p *Peer) SetWindow(n int) {
	p.window = n
	if p.conn != nil {
		p.conn.roomOpened()
	}
}

// Freeze stops Read (true) or lets it go on. A frozen peer without a window takes what
// socket buffers would (256 KiB); after that Send blocks.
func (p *Peer) Freeze(frozen bool) {
	p.frozen = frozen
	if p.conn != nil {
		p.conn.roomOpened()
	}
}

// CloseWrite ends the stream towards the loop after what was written (FIN).
func (p *Peer) CloseWrite() {
	if !p.fin && !p.reset && !p.rst {
		p.fin = true
		p.wantTurn()
	}
}

// Reset ends the connection at once (RST). What was not read yet is lost, and what the loop
// has not received yet may be.
func (p *Peer) Reset() {
	if p.rst {
		return
	}
	p.rst = true
	p.lose(p.toPeer.len())
	p.touch()
	if !p.closed {
		p.resetLoop()
	}
}

// Handle is the loop's name for the connection; zero until accepted (or connected). It stays
// readable after the end.
func (p *Peer) Handle() netpoll.Handle { return p.h }

// Remote is the peer's address.
func (p *Peer) Remote() netip.AddrPort { return p.remote }

// Accepted tells whether the loop's handler has been told of the connection.
func (p *Peer) Accepted() bool { return p.accepted }

// Closed tells whether the loop's side has closed, or the connection was reset by any side.
// After a close without reset the bytes that arrived before can still be read.
func (p *Peer) Closed() bool { return p.closed || p.rst }

// WasReset tells whether the connection ended with a reset, by any side or the network.
func (p *Peer) WasReset() bool { return p.rst }

// LostInFlight is the number of bytes of the loop's Sends that the kernel had taken and that
// a reset kept from being read.
func (p *Peer) LostInFlight() int { return p.lost }

// touch puts the peer on the list of World.News.
func (p *Peer) touch() {
	if !p.listed {
		p.listed = true
		p.world.news = append(p.world.news, p)
	}
}

func (p *Peer) wantTurn() {
	if p.conn != nil {
		p.conn.wantTurn()
	}
}

// room is how many bytes the kernels on the way will take from the loop now.
func (p *Peer) room() int {
	limit, held := p.window, p.toPeer.len()
	if p.link != nil {
		held = p.link.toLoop.len()
	}
	if limit < 0 {
		if !p.frozen && p.link == nil {
			return int(^uint(0) >> 1)
		}
		limit = frozenWindowBytes
	}
	return max(limit-held, 0)
}

// arrive is bytes of the loop reaching this end.
func (p *Peer) arrive(b []byte) {
	if p.link != nil {
		p.link.Write(b)
		return
	}
	p.toPeer.add(b)
	p.touch()
}

// take fills b with the next bytes for the loop.
func (p *Peer) take(b []byte) {
	p.toLoop.move(b)
	if p.link != nil && p.link.conn != nil {
		p.link.conn.roomOpened()
	}
}

// lose destroys the last n bytes that had arrived.
func (p *Peer) lose(n int) {
	p.toPeer.cut(n)
	p.lost += n
}

// loopEnded is the loop's side closing, or resetting, the connection.
func (p *Peer) loopEnded(reset bool) {
	if p.reset || p.rst {
		p.closed = true
		return
	}
	p.closed = true
	if reset {
		p.cutOff()
	}
	p.touch()
	switch {
	case p.link == nil:
	case reset:
		p.link.resetLoop()
	default:
		p.link.CloseWrite()
	}
}

// cutOff is a reset reaching this end: of what has arrived, or was about to, the tail is lost.
func (p *Peer) cutOff() {
	p.closed, p.rst = true, true
	if n := p.toPeer.len(); n > 0 {
		p.lose(p.world.rng.IntN(n + 1))
	}
	p.touch()
}

// resetLoop is a reset reaching the loop: what it has not received may be lost.
func (p *Peer) resetLoop() {
	if p.closed || p.reset {
		return
	}
	p.reset = true
	if n := p.toLoop.len(); n > 0 && p.world.rng.IntN(2) == 0 {
		p.toLoop.cut(p.world.rng.IntN(n + 1))
	}
	p.wantTurn()
}

// cutWire is the network resetting both ends.
func (p *Peer) cutWire() {
	p.resetLoop()
	p.cutOff()
	if p.link != nil {
		p.link.resetLoop()
		p.link.cutOff()
	}
}
