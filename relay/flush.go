package relay

import (
	"derpd/relay/block"
	"derpd/relay/queue"
	"derpd/relay/websock"
	"derpd/tlsengine"
)

// control appends bytes of the relay's own, which go out ahead of queued packets: as a
// message of their own where WebSocket is spoken.
func (l *loop) control(c *conn, b []byte) {
	for c.ws != nil && len(b) > 0 {
		part := b[:min(len(b), websock.MessageMax)]
		b = b[len(part):]
		var head [websock.HeaderMax]byte
		l.unframed(c, websock.AppendHeader(head[:0], len(part)))
		l.unframed(c, part)
	}
	if len(b) > 0 {
		l.unframed(c, b)
	}
}

// unframed is control without a WebSocket message around it.
func (l *loop) unframed(c *conn, b []byte) {
	have := 0
	if c.ctl != nil {
		have = len(c.ctl.Buf)
	}
	c.ctl = l.q.Blocks.Grow(c.ctl, have+len(b))
	c.ctl.Buf = append(c.ctl.Buf, b...)
	l.touch(c)
}

// send gives b to the loop; it returns to the pool now or with Sent.
func (l *loop) send(c *conn, b *block.Block) {
	if l.poll.Send(c.h, b.Buf) {
		b.Free(&l.q.Blocks)
		return
	}
	if plant == plantEarlyReuse {
		early := b
		b = l.q.Blocks.Get(0) // what Sent gives back instead
		early.Free(&l.q.Blocks)
	}
	c.out = b
	l.q.Charge(cap(b.Buf))
}

// flush seals what waits for a connection into one buffer and sends it, again if there was
// more than one send may carry, until it blocks.
func (l *loop) flush(c *conn) {
	for c.out == nil && c.phase != phaseDead {
		b := l.fill(c)
		if b == nil {
			return
		}
		l.n.Flushes++
		l.send(c, b)
		if c.out == nil {
			l.sentFrames(c)
		}
	}
}

// sentFrames counts the packets of a send that the kernel has taken.
func (l *loop) sentFrames(c *conn) {
	for k, n := range c.outFrames {
		if n == 0 {
			continue
		}
		if c.client != nil && c.client.link {
			l.n.LinkSent += uint64(n)
			continue
		}
		bytes := c.outBytes[k] - int32(n)*packetOverhead
		l.n.PacketsSent += uint64(n)
		l.n.BytesSent += uint64(bytes)
		if cl := c.client; cl != nil {
			cl.sent.Frames += uint64(n)
			cl.sent.Bytes += uint64(bytes)
		}
	}
	c.outFrames, c.outBytes = [2]uint16{}, [2]int32{}
}

// fill builds the bytes of one send: handshake flights as they are, TLS control records,
// control frames, then disco and data within flushBytesMax. nil if nothing waits.
func (l *loop) fill(c *conn) *block.Block {
	cl := c.client
	if cl != nil && cl.node != nil && len(cl.node.pending) > 0 &&
		(c.ctl == nil || len(c.ctl.Buf) < presenceBytesMax) {
		l.encodeEvents(c)
	}
	waiting := 0
	if cl != nil && !cl.q.Empty() {
		if d := cl.q.Expire(&l.q, l.poll.Now()-l.ageMax); d.Any() {
			l.n.drops(DropQueueHead, &d, cl.overhead())
		}
		waiting = min(cl.q.Bytes(), flushBytesMax)
	}
	ctl := 0
	if c.ctl != nil {
		ctl = len(c.ctl.Buf)
	}
	tlsControl := c.tls != nil && c.tls.NeedsSend()
	if waiting+ctl == 0 && !tlsControl {
		return nil
	}
	s := sealer{tls: c.tls, ws: c.ws != nil}
	room := waiting + ctl
	if s.ws && waiting > 0 {
		room += min(cl.q.Len()+1, waiting/packetOverhead+1) * 2 * websock.HeaderMax
	}
	groups := 0
	if ctl > 0 {
		groups = 1
	}
	if c.tls != nil {
		room += (room/tlsengine.MaxPlaintext + sparedRecords) * c.tls.Overhead()
	}
	b := l.q.Blocks.Get(room)
	s.buf = b.Buf[:0]
	if ctl > 0 {
		s.buf = append(s.buf, c.ctl.Buf[:c.unsealed]...)
	}
	if tlsControl {
		s.buf = c.tls.AppendControl(s.buf)
	}
	if ctl > 0 {
		s.write(c.ctl.Buf[c.unsealed:])
		c.unsealed = 0
		c.answers = 0
		c.ctl.Free(&l.q.Blocks)
		c.ctl = nil
	}
	if waiting > 0 {
		groups += l.fillPackets(c, cl, &s, waiting)
	}
	if cl != nil && groups > 0 {
		l.n.FlushSizes.observe(FlushBounds, uint64(groups))
	}
	s.close()
	b.Buf = s.buf
	return b
}

// fillPackets writes up to room bytes of queued frames: some disco, data, then the rest of
// the disco, and notices as soon as what was queued before them is written. It returns how many
// frames it wrote.
func (l *loop) fillPackets(c *conn, cl *client, s *sealer, room int) (frames int) {
	first := max(flushDiscoBytes, cl.q.Head(queue.Disco))
	waited := l.take(c, cl, s, queue.Disco, min(room, first), &room)
	waited += l.take(c, cl, s, queue.Data, room, &room)
	waited += l.take(c, cl, s, queue.Disco, room, &room)
	for room >= noticeBytes {
		f, ok := cl.q.PopNotice(&l.q)
		if !ok {
			break
		}
		s.frame(f.Data)
		room -= len(f.Data)
		f.Block.Free(&l.q.Blocks)
		frames++
	}
	packets := int(c.outFrames[0] + c.outFrames[1])
	if packets > 0 {
		l.awake(c)
		l.n.FlushedFrames += uint64(packets)
		if !cl.link {
			l.n.QueueWait.observe(packets, waited)
		}
	}
	return frames + packets
}

// take writes frames of one class, at most most bytes, and returns how long they have waited
// together.
func (l *loop) take(c *conn, cl *client, s *sealer, k queue.Kind, most int,
	room *int) (waited int64) {
	now := l.poll.Now()
	for n := cl.q.Head(k); n > 0 && n <= most; n = cl.q.Head(k) {
		f, _ := cl.q.Pop(&l.q, k)
		s.frame(f.Data)
		f.Block.Free(&l.q.Blocks)
		c.outFrames[k]++
		c.outBytes[k] += int32(n)
		most -= n
		*room -= n
		waited += max(0, now-f.At) // another loop's clock may be a turn ahead
	}
	return waited
}

// sealer writes a stream of plaintext into TLS records of up to 16 KiB, in place; without
// TLS it only appends.
type sealer struct {
	tls   *tlsengine.Session
	ws    bool // each frame becomes a WebSocket message
	buf   []byte
	start int // of the record being filled
	room  int // plaintext that still fits it; 0: none is open
}

// frame writes one queued frame.
func (s *sealer) frame(p []byte) {
	for s.ws && len(p) > websock.MessageMax {
		s.message(p[:websock.MessageMax])
		p = p[websock.MessageMax:]
	}
	if s.ws {
		s.message(p)
		return
	}
	s.write(p)
}

func (s *sealer) message(p []byte) {
	var head [websock.HeaderMax]byte
	s.write(websock.AppendHeader(head[:0], len(p)))
	s.write(p)
}

func (s *sealer) write(p []byte) {
	if s.tls == nil {
		s.buf = append(s.buf, p...)
		return
	}
	for len(p) > 0 {
		if s.room == 0 {
			s.start = len(s.buf)
			s.buf = s.tls.SealStart(s.buf)
			s.room = tlsengine.MaxPlaintext
		}
		n := min(len(p), s.room)
		s.buf = append(s.buf, p[:n]...)
		s.room -= n
		p = p[n:]
		if s.room == 0 {
			s.buf = s.tls.SealFinish(s.buf, s.start)
		}
	}
}

// close seals the last record.
func (s *sealer) close() {
	if s.room > 0 {
		s.buf = s.tls.SealFinish(s.buf, s.start)
		s.room = 0
	}
}
