package relay

import (
	"encoding/binary"
	"time"

	"derpd/relay/block"
	"derpd/relay/derp"
	"derpd/relay/queue"
	"derpd/relay/registry"
)

// sendPacket routes one SendPacket frame from cl. b, if not nil, holds the frame and is
// this function's; otherwise the frame lies in memory that stays until the turn ends.
func (l *loop) sendPacket(cl *client, f []byte, b *block.Block) {
	packet := f[derp.HeaderLen+derp.KeyLen:]
	kind := queue.Data
	if derp.LooksLikeDisco(packet) {
		kind = queue.Disco
	}
	n := len(packet)
	l.n.PacketsReceived[kind]++
	l.n.BytesReceived += uint64(n)
	cl.received.Frames++
	cl.received.Bytes += uint64(n)

	to, via := l.lookup(&cl.sender, (*registry.Key)(f[derp.HeaderLen:]))
	if via != nil {
		l.forward(cl, via, f, b, kind)
		return
	}
	if to == nil {
		l.unknownDest(cl, f, kind)
		b.Free(&l.q.Blocks)
		return
	}
	if plant == plantSwappedKey {
		derp.SendToRecv(f, to.key)
	} else {
		derp.SendToRecv(f, cl.key)
	}
	l.hand(to, f, b, kind)
}

// lookup finds the connection that gets packets for a key: a comparison with the last
// destination, then the registry. It remembers that s has reached it. For a key that is only
// on another node it returns the link to it.
func (l *loop) lookup(s *sender, dst *registry.Key) (to, via *client) {
	r := s.last
	if r == nil || r.Key != *dst || r.Active() == nil && r.Via() == nil {
		if r = l.srv.keys.Lookup(dst); r == nil {
			return nil, nil
		}
		s.last = r
	}
	if to = r.Active(); to == nil {
		return nil, r.Via()
	}
	if to != s.lastTo {
		s.lastTo = to
		l.reach(s, to)
	}
	return to, nil
}

// enqueue puts a frame on the queue of a client of this loop, which is flushed when the
// turn ends. A queue that is full while its connection is free to send is flushed at once.
func (l *loop) enqueue(to *client, f queue.Frame) {
	c := to.conn
	if c == nil { // it ended in this turn; the sender's cache does not know yet
		l.n.drop(DropGoneDisconnected, f.Kind, len(f.Data)-to.overhead())
		f.Block.Free(&l.q.Blocks)
		return
	}
	if c.out == nil && to.q.Full(&l.q, f.Kind, len(f.Data)) {
		l.flush(c)
		if to.conn == nil {
			l.enqueue(to, f)
			return
		}
	}
	// RecvPacket and ForwardPacket begin with the key of the sender.
	f.From = binary.LittleEndian.Uint32(f.Data[derp.HeaderLen:])
	if d := to.q.Push(&l.q, f); d.Any() {
		if plant != plantLostDrop {
			l.n.drops(DropQueueHead, &d, to.overhead())
		}
	}
	l.touch(c)
}

// pushAcross hands a frame to the loop that owns its destination: copied to a block, since
// the arena belongs to this loop's turn, and announced once per turn and loop.
func (l *loop) pushAcross(to *client, f []byte, b *block.Block, kind queue.Kind) {
	l.n.CrossLoop++
	if !to.inbox.Reserve(kind, len(f)) {
		l.n.drop(DropQueueTail, kind, len(f)-to.overhead())
		b.Free(&l.q.Blocks)
		return
	}
	if b == nil || len(b.Buf) != len(f) {
		own := l.q.Blocks.Get(len(f))
		copy(own.Buf, f)
		b.Free(&l.q.Blocks)
		b = own
	}
	to.inbox.Push(kind, b, l.poll.Now())
	l.announce(to)
}

// announce puts a client on its loop's list of arrivals, unless it is there, and has that
// loop woken when this turn ends.
func (l *loop) announce(to *client) {
	if to.arrived.Load() || !to.arrived.CompareAndSwap(false, true) {
		return
	}
	for {
		head := to.loop.arrivals.Load()
		to.nextArrival = head
		if to.loop.arrivals.CompareAndSwap(head, to) {
			break
		}
	}
	id := to.loop.poll.ID()
	l.wakes[id/64] |= 1 << (id % 64)
}

// takeInbox moves what other loops have pushed to the client's queue.
func (l *loop) takeInbox(cl *client) {
	for b := cl.inbox.Take(); b != nil; {
		next := b.Next()
		b.SetNext(nil)
		kind, at := queue.Meta(b)
		l.enqueue(cl, queue.Frame{Data: b.Buf, Block: b, At: at, Kind: kind})
		b = next
	}
}

// unknownDest drops a packet whose destination is not here. Only disco is answered, within
// the sender's rate: a peer that probes learns to look elsewhere, a flood learns nothing.
func (l *loop) unknownDest(cl *client, f []byte, kind queue.Kind) {
	l.n.drop(DropUnknownDest, kind, len(f)-packetOverhead)
	l.notHere(cl.conn, derp.Key(f[derp.HeaderLen:]), kind)
}

// notHere answers a probe for a key that is not here.
func (l *loop) notHere(c *conn, dst derp.Key, kind queue.Kind) {
	if kind != queue.Disco ||
		!c.client.notHere.take(l.poll.Now(), notHerePerSecond, notHereBurst) || !l.mayAnswer(c) {
		return
	}
	var gone [noticeBytes]byte
	l.control(c, derp.AppendPeerGone(gone[:0], dst, derp.GoneNotHere))
	l.n.GoneNotHere++
}

// bucket is a token bucket, as the loop time when it is full again. The zero bucket is full.
type bucket int64

// take removes a token if there is one.
func (b *bucket) take(now, perSecond, burst int64) bool {
	each := int64(time.Second) / perSecond
	full := max(int64(*b), now)
	if full-now > (burst-1)*each {
		return false
	}
	*b = bucket(full + each)
	return true
}
