package relay

import (
	"derpd/relay/block"
	"derpd/relay/derp"
	"derpd/relay/queue"
	"derpd/relay/registry"
)

// forward gives a client's packet to the node that its destination is connected to: a
// ForwardPacket frame on the link's queue, batched and bounded like any other, so that a slow
// or re-dialling mesh peer never slows a sender. f is the SendPacket frame.
func (l *loop) forward(cl *client, via *client, f []byte, b *block.Block, kind queue.Kind) {
	l.n.ForwardedOut++
	fw := l.q.Blocks.Get(len(f) + derp.KeyLen)
	fw.Buf = derp.AppendForwardPacket(fw.Buf[:0], cl.key, derp.Key(f[derp.HeaderLen:]),
		f[derp.HeaderLen+derp.KeyLen:])
	b.Free(&l.q.Blocks)
	l.hand(via, fw.Buf, fw, kind)
}

// hand puts a frame on the queue of a client of this loop or another.
func (l *loop) hand(to *client, f []byte, b *block.Block, kind queue.Kind) {
	if to.loop != l {
		l.pushAcross(to, f, b, kind)
		return
	}
	l.enqueue(to, queue.Frame{Data: f, Block: b, At: l.poll.Now(), Kind: kind})
}

// forwardPacket delivers what another node forwards, locally only: one hop. f is the whole
// ForwardPacket frame, held by b or by memory that stays until the turn ends.
func (l *loop) forwardPacket(c *conn, f []byte, b *block.Block) {
	src := derp.Key(f[derp.HeaderLen:])
	dst := derp.Key(f[derp.HeaderLen+derp.KeyLen:])
	packet := f[derp.HeaderLen+2*derp.KeyLen:]
	kind := queue.Data
	if derp.LooksLikeDisco(packet) {
		kind = queue.Disco
	}
	l.n.ForwardedIn++
	to, _ := l.lookup(l.remoteSender(src), (*registry.Key)(&dst))
	if to == nil {
		l.n.drop(DropUnknownDestOnFwd, kind, len(packet))
		l.notHere(c, dst, kind)
		b.Free(&l.q.Blocks)
		return
	}
	l.hand(to, derp.ForwardToRecv(f), b, kind)
}

// remoteSender is the book of a key that is connected to another node and whose packets
// arrive on this loop. It stays until the key has left the region.
func (l *loop) remoteSender(k derp.Key) *sender {
	if s := l.lastRemote; s != nil && s.key == k {
		return s
	}
	s := l.remotes[k]
	if s == nil {
		if len(l.remotes) >= l.remotesLook {
			l.sweepRemotes()
		}
		s = &sender{key: k}
		if len(l.remotes) >= remotesMax {
			l.n.ReachedOverflow++
			return s // works, but is forgotten at once
		}
		if l.remotes == nil {
			l.remotes = map[derp.Key]*sender{}
		}
		l.remotes[k] = s
	}
	l.lastRemote = s
	return s
}

// sweepRemotes forgets keys that no link of ours reaches: nobody will tell when they leave. They
// are of a node that dials us and that we do not dial, or their last packet came behind their
// departure. The next look is when there are twice as many, and a minute later if that is as many
// as there may be.
func (l *loop) sweepRemotes() {
	now := l.poll.Now()
	if now < l.remotesNext {
		return
	}
	for k, s := range l.remotes {
		if r := l.srv.keys.Lookup((*registry.Key)(&k)); r == nil || r.Via() == nil {
			delete(l.remotes, k)
			if l.lastRemote == s {
				l.lastRemote = nil
			}
		}
	}
	l.remotesLook = min(remotesMax, max(remotesLookMin, 2*len(l.remotes)))
	if l.remotesLook == remotesMax {
		l.remotesNext = now + int64(remotesPause)
	}
}

// linger keeps the book of a client that left this node while its key lives on another.
func (l *loop) linger(s *sender) {
	s.last, s.lastTo = nil, nil // or clients that roam would keep each other's remains
	if s.reached == nil {
		return
	}
	if old := l.remotes[s.key]; old != nil {
		l.merge(old, s.reached)
		return
	}
	l.merge(l.remoteSender(s.key), s.reached)
}

// regionGone tells everyone who heard from a key by way of other nodes that it has left.
func (s *Server) regionGone(k derp.Key) {
	for _, l := range s.loops {
		l.poll.Post(func() {
			if r := l.remotes[k]; r != nil {
				delete(l.remotes, k)
				if l.lastRemote == r {
					l.lastRemote = nil
				}
				l.depart(r, nil)
			}
		})
	}
}
