package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/packet"
	"derpd/netpoll"
	"derpd/relay/derp"
	"derpd/relay/websock"
	"derpd/tlsengine"
)

// records takes bytes of a TLS stream. A record that is not whole yet waits in a stash.
func (l *loop) records(c *client, b []byte) {
	if len(c.stash) > 0 {
		n, err := tlsengine.RecordLen(c.stash)
		if err == nil && n == 0 { // not even a header: it is 5 bytes
			k := min(5-len(c.stash), len(b))
			c.stash, b = append(c.stash, b[:k]...), b[k:]
			n, err = tlsengine.RecordLen(c.stash)
		}
		if err != nil {
			l.drop(c, loadgen.FailProtocol, err.Error())
			return
		}
		if n == 0 {
			return
		}
		k := min(n-len(c.stash), len(b))
		c.stash, b = append(c.stash, b[:k]...), b[k:]
		if len(c.stash) < n {
			return
		}
		if !l.record(c, c.stash) {
			return
		}
		l.unstash(c)
	}
	for len(b) > 0 {
		n, err := tlsengine.RecordLen(b)
		if err != nil {
			l.drop(c, loadgen.FailProtocol, err.Error())
			return
		}
		if n == 0 || n > len(b) {
			l.keep(c, b)
			return
		}
		if !l.record(c, b[:n]) {
			return
		}
		b = b[n:]
	}
}

// keep puts the beginning of a record aside.
func (l *loop) keep(c *client, b []byte) {
	if c.stash == nil {
		if last := len(l.stashes) - 1; last >= 0 {
			c.stash, l.stashes = l.stashes[last], l.stashes[:last]
		} else {
			c.stash = make([]byte, 0, tlsengine.MaxRecord)
		}
	}
	c.stash = append(c.stash, b...)
}

func (l *loop) unstash(c *client) {
	if c.stash != nil {
		l.stashes = append(l.stashes, c.stash[:0])
		c.stash = nil
	}
}

// record takes one whole record. Where only the heads of frames are looked at it is not opened, but
// for a sample; it tells whether the connection goes on.
func (l *loop) record(c *client, rec []byte) bool {
	if c.skim != nil && c.phase == phaseOpen {
		if l.sample--; l.sample > 0 {
			n, data, err := c.skim.Record(&c.tls, rec)
			if err != nil {
				l.drop(c, loadgen.FailProtocol, err.Error())
				return false
			}
			if data {
				l.walk(c, view{skim: c.skim, n: n})
				c.skim.Done(&c.tls)
				return !c.leaves
			}
		} else {
			l.sample = l.e.opt.Sampled
		}
	}
	plain, err := c.tls.Open(rec)
	if err != nil {
		l.broken(c, err)
		return false
	}
	if plain == nil {
		return l.answer(c)
	}
	return l.plaintext(c, plain)
}

// broken is a record that ends the connection.
func (l *loop) broken(c *client, err error) {
	class := loadgen.FailProtocol
	if errors.Is(err, io.EOF) {
		class = loadgen.FailClosed
		if c.phase != phaseOpen {
			class = loadgen.FailLogin
		}
		err = errors.New("the relay closed the TLS session")
	}
	if !c.leaves {
		l.drop(c, class, err.Error())
	}
}

// answer sends what TLS itself has to say, and takes up the keys that a KeyUpdate changed.
func (l *loop) answer(c *client) bool {
	if c.skim != nil {
		k, _ := c.tls.Skimmer()
		*c.skim = k
	}
	if c.tls.NeedsSend() && !c.sending && (c.out == nil || c.out.empty()) {
		if !l.poll.Send(c.h, c.tls.AppendControl(nil)) {
			c.sending = true
		}
	}
	return true
}

// plaintext takes bytes behind TLS, or without it, up to DERP's own.
func (l *loop) plaintext(c *client, b []byte) bool {
	if !c.upgraded {
		if b = l.httpHead(c, b); len(b) == 0 {
			return !c.leaves
		}
	}
	if c.ws == nil {
		l.walk(c, view{plain: b, n: len(b)})
		return !c.leaves
	}
	for !c.leaves {
		kind, p, n, err := c.ws.Next(b)
		if err != nil {
			l.drop(c, loadgen.FailProtocol, err.Error())
			return false
		}
		b = b[n:]
		switch kind {
		case websock.Data:
			l.walk(c, view{plain: p, n: len(p)})
		case websock.Close:
			l.drop(c, loadgen.FailClosed, "the relay closed the WebSocket")
			return false
		case websock.None:
			return true
		}
	}
	return false
}

// httpHead takes the answer to the upgrade and returns what is behind it.
func (l *loop) httpHead(c *client, b []byte) (rest []byte) {
	c.ctl = append(c.ctl, b...) // nothing of ours waits before the login
	end := bytes.Index(c.ctl, []byte("\r\n\r\n"))
	if end < 0 {
		if len(c.ctl) > httpHeadMax {
			l.drop(c, loadgen.FailHTTP, fmt.Sprintf("no end of the HTTP answer in %d bytes",
				len(c.ctl)))
		}
		return nil
	}
	line, _, _ := bytes.Cut(c.ctl, []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 101")) {
		l.drop(c, loadgen.FailHTTP, fmt.Sprintf("the relay answered %.80q", line))
		return nil
	}
	rest = bytes.Clone(c.ctl[end+4:])
	c.ctl = nil
	c.upgraded = true
	if l.e.job.Workload.WebSocket {
		c.ws = &websock.Reader{Client: true}
	}
	return rest
}

// view is some plaintext: bytes, or a record of which parts are decrypted when they are wanted.
type view struct {
	plain []byte
	skim  *tlsengine.Skimmer
	n     int
}

func (v *view) read(dst []byte, off int) {
	if v.skim != nil {
		v.skim.At(dst, off)
	} else {
		copy(dst, v.plain[off:])
	}
}

// walk goes from frame to frame. Only their heads are read; a head that is torn waits.
func (l *loop) walk(c *client, v view) {
	for off := 0; off < v.n; {
		if c.skip > 0 {
			n := min(int(c.skip), v.n-off)
			c.skip -= int32(n)
			off += n
			continue
		}
		head := l.headOf(c)
		had := int(c.headN)
		have := had + min(headMax-had, v.n-off)
		v.read(head[had:have], off)
		kind, length, ok := derp.Header(head[:have])
		if ok {
			if err := derp.CheckLen(kind, length, derp.FromServer); err != nil {
				l.drop(c, loadgen.FailProtocol, err.Error())
				return
			}
		}
		need := derp.HeaderLen + min(length, wanted(kind))
		if !ok || have < need {
			c.headN = uint8(have)
			return
		}
		var whole []byte // the payload, if it lies in one piece
		if at := off - had; v.plain != nil && at >= 0 && at+derp.HeaderLen+length <= v.n {
			whole = v.plain[at+derp.HeaderLen:][:length]
		}
		c.headN = 0
		off += need - had
		c.skip = int32(derp.HeaderLen + length - need)
		l.frame(c, kind, head[derp.HeaderLen:need], length, whole)
		if c.leaves {
			return
		}
	}
	if c.headN == 0 {
		l.unhead(c)
	}
}

// headOf is where the head of a frame is put together.
func (l *loop) headOf(c *client) *[headMax]byte {
	if c.head == nil {
		if last := len(l.heads) - 1; last >= 0 {
			c.head, l.heads = l.heads[last], l.heads[:last]
		} else {
			c.head = new([headMax]byte)
		}
	}
	return c.head
}

func (l *loop) unhead(c *client) {
	if c.head != nil {
		l.heads = append(l.heads, c.head)
		c.head = nil
	}
	c.headN = 0
}

// wanted is how many bytes of a frame's payload are read.
func wanted(kind derp.FrameType) int {
	switch kind {
	case derp.FrameRecvPacket:
		return derp.KeyLen + packet.HeadBytes
	case derp.FrameServerKey:
		return derp.MinServerKey
	case derp.FrameServerInfo:
		return headMax - derp.HeaderLen
	case derp.FramePing, derp.FramePong:
		return derp.PingLen
	}
	return 0
}

// frame takes the head of one frame: b is the beginning of the payload, of n bytes in all.
func (l *loop) frame(c *client, kind derp.FrameType, b []byte, n int, whole []byte) {
	switch kind {
	case derp.FrameRecvPacket:
		if c.phase == phaseOpen {
			l.packet(c, derp.Key(b[:derp.KeyLen]), b[derp.KeyLen:], n-derp.KeyLen, whole)
		}
	case derp.FramePong:
		if c.asked {
			c.asked = false
			l.pinging--
			l.answered++
		}
	case derp.FramePing:
		l.control(c, derp.AppendPong(nil, [derp.PingLen]byte(b)))
	case derp.FrameServerKey:
		key, err := derp.ParseServerKey(b)
		if err != nil {
			l.drop(c, loadgen.FailProtocol, err.Error())
			return
		}
		l.greeted(c, key)
	case derp.FrameServerInfo:
		if c.phase != phaseLogin {
			return
		}
		if c.login == nil {
			l.drop(c, loadgen.FailProtocol, "the relay answered a login before it was sent one")
			return
		}
		if whole == nil && n == len(b) {
			whole = b
		}
		// One that is torn over records, and long, is taken on trust in TLS.
		if _, err := c.login.OpenServerInfo(whole); whole != nil && err != nil {
			l.drop(c, loadgen.FailProtocol, err.Error())
			return
		}
		l.opened(c)
	}
}

// packet checks one delivered packet, and times it.
func (l *loop) packet(c *client, src derp.Key, head []byte, size int, whole []byte) {
	r := l.run
	s, ok := packet.Parse(head, size)
	if !ok {
		l.wrong.Content++
		return
	}
	number, index := byte(s.Pair), int(s.Pair>>8)
	if index >= len(l.e.flows) || l.e.flows[index].to != c.index ||
		l.e.keys[l.e.flows[index].from] != src {
		l.wrong.Key++
		return
	}
	if r == nil || number != r.number {
		l.stale++
		return
	}
	if whole != nil && l.compares(c) && !packet.Check(whole[derp.KeyLen:], s) {
		l.wrong.Content++
		return
	}
	f := &l.e.receiving[index]
	class := 0
	if s.Disco {
		class = 1
	}
	switch last := f.last[class]; {
	case s.Seq == last:
		l.wrong.Twice++
		return
	case s.Seq < last:
		l.wrong.Order++
	default:
		f.last[class] = s.Seq
	}
	f.delivered++
	if l.e.arrived != nil {
		a := &l.e.arrived[index]
		a.at.Store(l.now)
		a.packets.Store(f.delivered)
	}
	t := &l.groups[l.e.flows[index].group]
	t.delivered++
	if l.now >= r.from && l.now < r.until {
		t.winDelivered++
		t.winDeliveredBytes += uint64(size)
	}
	if s.Due >= r.from && s.Due < r.until { // 0: sealed ahead, at full speed
		d := time.Duration(l.now - s.Due)
		t.latency.Record(d)
		l.recent.Record(d)
	}
}

// compares tells whether a packet whose bytes are there is compared whole: those of opened records
// are a sample already, without TLS every n-th is.
func (l *loop) compares(c *client) bool {
	if c.skim != nil {
		return true
	}
	if l.sample--; l.sample > 0 {
		return false
	}
	l.sample = l.e.opt.Sampled
	return true
}

// ask sends Pings to clients that have still to answer for themselves.
func (l *loop) ask() {
	for len(l.asking) > 0 && l.pinging < pingsAtOnce {
		last := len(l.asking) - 1
		c := &l.e.clients[l.asking[last]]
		l.asking = l.asking[:last]
		if c.phase != phaseOpen {
			continue
		}
		c.asked = true
		l.pinging++
		l.asked++
		l.active = true
		l.control(c, derp.AppendPing(nil, [derp.PingLen]byte{byte(c.index)}))
	}
}

var _ netpoll.Handler = (*loop)(nil)
