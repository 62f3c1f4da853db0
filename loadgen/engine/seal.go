package engine

import (
	"math/rand/v2"

	"derpd/loadgen"
	"derpd/loadgen/packet"
	"derpd/relay/derp"
	"derpd/relay/websock"
	"derpd/tlsengine"
)

// seal makes one write of a stream: FramesPerWrite packets that are due together, in one record if
// they fit. ahead is 0 for packets at full speed whose time is not known yet.
func (l *loop) seal(s *sender, b *batch, st *stream, due int64) {
	g := &l.e.job.Workload.Groups[st.group]
	f := &l.e.flows[st.flow]
	l.plain = l.plain[:0]
	total := 0
	for range g.FramesPerWrite {
		size := pick(g.Sizes, &s.rng)
		class := 0
		if size.Disco {
			class = 1
		}
		st.seq[class]++
		l.plain = derp.AppendHeader(l.plain, derp.FrameSendPacket, derp.KeyLen+size.Bytes)
		l.plain = append(l.plain, l.e.keys[f.to][:]...)
		l.plain = packet.Append(l.plain, packet.Stamp{
			Pair: uint32(st.flow)<<8 | uint32(l.run.number), Seq: st.seq[class], Due: due,
			Disco: size.Disco}, size.Bytes)
		total += size.Bytes
	}
	start := len(b.buf)
	final := s.c.tls.Version() != 0 && s.c.tls.NeedsSend()
	b.buf = l.message(s.c, b.buf, l.plain)
	b.writes = append(b.writes, write{start: int32(start), end: int32(len(b.buf)), due: due,
		bytes: int32(total), packets: uint16(g.FramesPerWrite), stream: s.number(st),
		records: uint16(recordsFor(s.c, len(l.plain))), final: final})
	if !st.full {
		st.source.Advance()
	}
}

// number is the index of a stream of this sender.
func (s *sender) number(st *stream) uint16 {
	for i := range s.streams {
		if st == &s.streams[i] {
			return uint16(i)
		}
	}
	panic("engine: the stream is another sender's")
}

// pick draws a size.
func pick(sizes []loadgen.Size, rng *rand.PCG) *loadgen.Size {
	if len(sizes) == 1 {
		return &sizes[0]
	}
	var sum float64
	for i := range sizes {
		sum += sizes[i].Weight
	}
	x := float64(rng.Uint64()>>11) / (1 << 53) * sum
	for i := range sizes {
		if x -= sizes[i].Weight; x < 0 {
			return &sizes[i]
		}
	}
	return &sizes[len(sizes)-1]
}

// recordsFor is how many records message makes of n bytes.
func recordsFor(c *client, n int) int {
	most := tlsengine.MaxPlaintext
	if c.ws != nil {
		most -= websock.MaskedHeaderMax
	}
	return (n + most - 1) / most
}

// message appends what carries plaintext to the relay: records, and a WebSocket message in them.
func (l *loop) message(c *client, dst, plain []byte) []byte {
	if c.tls.Version() != 0 && c.tls.NeedsSend() { // sealed for good: see Unseal
		dst = c.tls.AppendControl(dst)
	}
	if c.ws == nil {
		return l.sealed(c, dst, plain)
	}
	var framed []byte
	for len(plain) > 0 { // a message within a record, masked as a browser does
		n := min(len(plain), tlsengine.MaxPlaintext-websock.MaskedHeaderMax)
		mask := [4]byte{byte(l.id), byte(c.index), byte(len(dst)), 0x5a}
		framed = websock.AppendMaskedHeader(framed[:0], n, mask)
		head := len(framed)
		framed = append(framed, plain[:n]...)
		websock.Mask(framed[head:], mask, 0)
		dst = l.sealed(c, dst, framed)
		plain = plain[n:]
	}
	return dst
}

// fill seals ahead for one sender, at most max writes, and tells whether there may be room for
// more.
func (l *loop) fill(s *sender, now int64, most int) bool {
	if s.c.phase != phaseOpen || len(s.c.ctl) > 0 {
		return false
	}
	for range most {
		st, due := s.earliest(l.run, now)
		if st == nil || len(s.next.buf) >= s.room {
			return false
		}
		if st.full {
			due = 0
		}
		l.seal(s, &s.next, st, due)
	}
	return true
}

// fillSome seals a little ahead in a turn that has nothing else to do.
func (l *loop) fillSome() {
	if l.run == nil || l.run.settled {
		l.filling = l.filling[:0]
		return
	}
	last := len(l.filling) - 1
	s := l.filling[last]
	if !l.fill(s, l.poll.Now(), sealsPerTurn) {
		l.filling = l.filling[:last]
		s.filling = false
	}
}
