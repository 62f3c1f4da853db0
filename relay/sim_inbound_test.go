package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"time"

	"derpd/relay/derp"
	"derpd/relay/queue"
	"derpd/tlsengine"
)

// read takes what has arrived, some of it or all, and checks it.
func (c *simConn) read() {
	most := 1 << 30
	if c.world.odds(4) {
		most = 1 + c.world.rand.IntN(3000)
	}
	b := c.peer.Read(most)
	switch {
	case len(b) == 0:
	case !c.world.rules.tls:
		c.stream = append(c.stream, b...)
		c.parse()
	default:
		c.raw = append(c.raw, b...)
		c.openRecords()
	}
}

// readAll takes everything that has arrived.
func (c *simConn) readAll() {
	for !c.frozen && c.peer.Buffered() > 0 {
		c.read()
	}
}

// openRecords turns raw into stream.
func (c *simConn) openRecords() {
	b := c.raw
	for {
		n, err := tlsengine.RecordLen(b)
		if err != nil {
			c.world.wrong("%v: spoilt record: %v", c, err)
			return
		}
		if n == 0 || n > len(b) {
			break
		}
		rec := b[:n]
		b = b[n:]
		if c.flights > 0 {
			c.flight(rec)
			continue
		}
		if c.tls == nil || c.ended {
			c.world.wrong("%v: a record after the end", c)
			return
		}
		plain, err := c.tls.Open(rec)
		var alert *tlsengine.AlertError
		switch {
		case errors.Is(err, io.EOF), errors.As(err, &alert) && c.odd == oddRecord:
			c.ended = true
		case err != nil:
			c.world.wrong("%v: spoilt record: %v", c, err)
			return
		}
		c.stream = append(c.stream, plain...)
	}
	c.raw = append(c.raw[:0], b...)
	c.parse()
}

// parse cuts frames from stream.
func (c *simConn) parse() {
	b := c.stream
	if !c.greeted || c.odd != oddNone && len(b) > 0 && b[0] == 'H' {
		i := bytes.Index(b, []byte("\r\n\r\n"))
		if i < 0 {
			return
		}
		if c.refused = c.odd != oddNone; !c.refused &&
			!bytes.HasPrefix(b, []byte("HTTP/1.1 101 Switching Protocols\r\n")) {
			c.world.wrong("%v: response %.40q", c, b)
		}
		c.greeted = true
		b = b[i+4:]
	}
	for {
		t, n, ok := derp.Header(b)
		if !ok {
			break
		}
		if err := derp.CheckLen(t, n, derp.FromServer); err != nil {
			c.world.wrong("%v: a frame is not intact: %v", c, err)
			return
		}
		if len(b) < derp.HeaderLen+n {
			break
		}
		c.frame(t, b[derp.HeaderLen:derp.HeaderLen+n])
		b = b[derp.HeaderLen+n:]
	}
	c.stream = append(c.stream[:0], b...)
}

// frame checks one frame of the relay.
func (c *simConn) frame(t derp.FrameType, payload []byte) {
	w := c.world
	switch {
	case !c.keyed && t != derp.FrameServerKey, c.keyed && !c.ready && t != derp.FrameServerInfo:
		w.wrong("%v: %v came before ServerKey and ServerInfo", c, t)
	case t == derp.FrameServerKey:
		if key, err := derp.ParseServerKey(payload); err != nil || key != w.srv.Public() {
			w.wrong("%v: ServerKey %v, %v", c, key, err)
		}
		if c.keyed {
			w.wrong("%v: a second ServerKey", c)
		}
		if c.keyed = true; !c.early && c.odd == oddNone {
			c.login()
		}
	case t == derp.FrameServerInfo:
		info, err := c.shared.OpenServerInfo(payload)
		if err != nil || info.Version != derp.ProtocolVersion || c.ready {
			w.wrong("%v: ServerInfo %+v, %v", c, info, err)
		}
		c.ready = true
	case t == derp.FrameRecvPacket:
		src, packet, _ := derp.ParseRecvPacket(payload)
		c.parsed++
		c.packet(simNodeOf(src), packet)
	case t == derp.FramePeerGone:
		key, reason, _ := derp.ParsePeerGone(payload)
		if reason == derp.GoneNotHere {
			c.toldNotHere(simNodeOf(key))
		} else {
			c.toldGone(simNodeOf(key))
		}
	case t == derp.FramePong:
		c.pong(payload)
	case t == derp.FrameKeepAlive:
		c.beats = append(c.beats, int64(w.net.Now()))
		past := w.net.Now() - time.Duration(c.since())
		if len(c.beats) > int(past/keepAliveEvery) {
			w.wrong("%v: %d keepalives in the %v since its login", c, len(c.beats), past)
		}
	default:
		w.wrong("%v: a frame of type %v", c, t)
	}
}

// A simulated packet is magic, source and destination node, class, connection, sequence
// number, checksum of everything else, filler.
const (
	simMagic     = "packet" // as long as disco's
	simDiscoLike = "TS\xf0\x9f\x92\xac"
	simPacketMin = len(simMagic) + 3 + 4 + 4 + 4
	simSumAt     = simPacketMin - 4
)

var simFiller = func() []byte {
	b := make([]byte, 2*derp.MaxPacket)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}()

var simTable = crc32.MakeTable(crc32.Castagnoli)

// simTinyPair names packets that are too short to say who they are.
type simTinyPair struct{ src, dst, bytes int }

// simPacket is what a sender remembers of one packet.
type simPacket struct {
	dst  int
	kind queue.Kind
	end  int      // where it ends in the sender's stream
	got  *simConn // who received it
}

// send queues a packet of size bytes; disco if that is long enough.
func (c *simConn) send(dst, size int, disco bool) {
	w := c.world
	seq := len(c.sent)
	p := make([]byte, size)
	copy(p, simFiller[(c.id*31+seq*7)%derp.MaxPacket:])
	if disco {
		copy(p, simDiscoLike)
	} else {
		copy(p, simMagic)
	}
	pk := simPacket{dst: dst, kind: queue.Data}
	if derp.LooksLikeDisco(p) {
		pk.kind = queue.Disco
	}
	if size < simPacketMin {
		for i := range p {
			p[i] = byte(c.node)
		}
		w.tiny[simTinyPair{c.node, dst, size}]++
	} else {
		at := len(simMagic)
		p[at], p[at+1], p[at+2] = byte(c.node), byte(dst), byte(pk.kind)
		binary.BigEndian.PutUint32(p[at+3:], uint32(c.id))
		binary.BigEndian.PutUint32(p[at+7:], uint32(seq))
		binary.BigEndian.PutUint32(p[simSumAt:], simSum(p))
	}
	c.say(derp.AppendSendPacket(nil, simKeys()[dst].public, p))
	pk.end = c.plainEnd
	c.sent = append(c.sent, pk)
}

func simSum(p []byte) uint32 {
	return crc32.Update(crc32.Checksum(p[:simSumAt], simTable), simTable, p[simPacketMin:])
}

// packet checks a packet that came with the key of node.
func (c *simConn) packet(node int, p []byte) {
	w := c.world
	if len(p) < simPacketMin {
		pair := simTinyPair{node, c.node, len(p)}
		if w.tiny[pair]--; w.tiny[pair] < 0 {
			w.wrong("%v: a packet of %d bytes from node %d came more often than it was sent",
				c, len(p), node)
		}
		return
	}
	at := len(simMagic)
	id := binary.BigEndian.Uint32(p[at+3:])
	seq := binary.BigEndian.Uint32(p[at+7:])
	if binary.BigEndian.Uint32(p[simSumAt:]) != simSum(p) || int(id) >= len(w.conns) ||
		int(seq) >= len(w.conns[id].sent) {
		w.wrong("%v: a packet of %d bytes is not intact", c, len(p))
		return
	}
	from := w.conns[id]
	pk := &from.sent[seq]
	switch pair := int(id)<<1 | int(pk.kind); {
	case int(p[at+1]) != c.node || pk.dst != c.node:
		w.wrong("%v: delivered to a wrong key: packet %d of %v to node %d", c, seq, from, pk.dst)
	case from.node != node:
		w.wrong("%v: wrong source key: packet %d of %v came as node %d's", c, seq, from, node)
	case pk.got != nil:
		w.wrong("%v: delivered twice: packet %d of %v, first to %v", c, seq, from, pk.got)
	case c.seen[pair] > int(seq):
		w.wrong("%v: reordered: packet %d of %v (class %d) after packet %d", c, seq, from, pk.kind,
			c.seen[pair]-1)
	case c.barred[from.id]:
		w.wrong("%v: packet %d of %v after its PeerGone", c, seq, from)
	default:
		c.seen[pair] = int(seq) + 1
	}
	pk.got = c
	c.lastOf[node] = from
	delete(c.gone, node)
}

// toldGone checks PeerGone(Disconnected): only of a key that was heard from, and that is not
// here any more; nothing follows from the connections that were heard before it.
func (c *simConn) toldGone(node int) {
	w := c.world
	last := c.lastOf[node]
	if last == nil && !c.mayHaveHeard(node) {
		w.wrong("%v: PeerGone of node %d, which it never heard from", c, node)
	}
	if last != nil && last.here() {
		w.wrong("%v: PeerGone of node %d, whose packet came before and who is still here", c, node)
	}
	c.gone[node] = true
	if c.barred == nil {
		c.barred = make(map[int]bool)
	}
	for _, other := range w.conns {
		if other.node == node && !other.here() && (c.seen[other.id<<1] > 0 ||
			c.seen[other.id<<1|1] > 0) {
			c.barred[other.id] = true
		}
	}
}

// mayHaveHeard tells whether a packet of node could have been meant for this connection
// although it never got through: handled after our login, and delivered to nobody else.
func (c *simConn) mayHaveHeard(node int) bool {
	for _, from := range c.world.conns {
		if from.node != node {
			continue
		}
		first := 0
		if from.id < len(c.before) {
			first = int(c.before[from.id])
		}
		for i := first; i < len(from.sent); i++ {
			if pk := &from.sent[i]; pk.dst == c.node && pk.got == nil && pk.end <= from.written {
				return true
			}
		}
	}
	return false
}

// toldNotHere checks PeerGone(NotHere): an answer to disco, and at most three at once and one
// a second.
func (c *simConn) toldNotHere(node int) {
	w := c.world
	c.notHere++
	past := w.net.Now() - time.Duration(c.since())
	if most := notHereBurst + 1 + int(past/time.Second); c.notHere > most {
		w.wrong("%v: PeerGone(NotHere) %d times, %d were allowed", c, c.notHere, most)
	}
	for i := range c.sent {
		if pk := &c.sent[i]; pk.dst == node && pk.kind == queue.Disco && pk.got == nil {
			return
		}
	}
	w.wrong("%v: PeerGone(NotHere) of node %d, to which no disco was sent in vain", c, node)
}

// since is when the relay logged it in.
func (c *simConn) since() int64 {
	if c.client != nil {
		return c.client.since
	}
	return 0
}

// pong checks an answer: to a ping that was sent and not answered, in order.
func (c *simConn) pong(payload []byte) {
	data, _ := derp.ParsePong(payload)
	token := binary.LittleEndian.Uint64(data[:])
	c.pongs++
	for i, ping := range c.pings {
		if ping == token {
			c.pings = c.pings[i+1:]
			return
		}
	}
	c.world.wrong("%v: a pong that echoes no ping", c)
}
