package relay

import (
	"derpd/netpoll"
	"derpd/relay/derp"
	"derpd/relay/registry"
)

// handleSet is a set of connections of one loop: open addressing over their handles, nothing else,
// so that a pair costs 11 to 21 bytes and a look-up one cache line. Of a slot it keeps the newest
// connection, for the others have ended: who stays for weeks does not collect who comes and goes.
type handleSet struct {
	slots []netpoll.Handle // length a power of two; 0 is free
	n     int
}

func hashSlot(h netpoll.Handle) uint64 {
	x := uint64(h.Slot()) * 0x9e3779b97f4a7c15 // 2^64 / golden ratio
	return x ^ x>>32
}

// add inserts h; false if the set is at its bound.
func (s *handleSet) add(h netpoll.Handle) bool {
	if 4*(s.n+1) > 3*len(s.slots) {
		old := s.slots
		s.slots = make([]netpoll.Handle, max(4, 2*len(old)))
		s.n = 0
		for _, o := range old {
			if o != 0 {
				s.add(o)
			}
		}
	}
	mask := uint64(len(s.slots) - 1)
	for i := hashSlot(h); ; i++ {
		switch o := &s.slots[i&mask]; {
		case *o == 0:
			if s.n >= reachedMax {
				return false
			}
			*o = h
			s.n++
			return true
		case o.Slot() == h.Slot():
			if int32(h.Generation()-o.Generation()) > 0 { // which wrap around
				*o = h
			}
			return true
		}
	}
}

// reach remembers that to has been sent a packet of s.
func (l *loop) reach(s *sender, to *client) {
	if s.reached == nil {
		s.reached = l.reachNobody()
	}
	if !(*s.reached)[to.loop.poll.ID()].add(to.h) {
		l.n.ReachedOverflow++
	}
}

// reachNobody makes an empty book of whom a key has reached.
func (l *loop) reachNobody() *reached {
	r := make(reached, len(l.srv.loops))
	return &r
}

// goneWork is a departure that a loop is telling its clients of, a slice a turn.
type goneWork struct {
	key  derp.Key
	set  handleSet
	next int // slot to go on with
}

// depart ends the bookkeeping of a key that left. If it has another connection here, that
// one inherits whom to tell; otherwise every loop gets its part of the set.
func (l *loop) depart(s *sender, survivor *client) {
	reached := s.reached
	s.reached, s.last, s.lastTo = nil, nil, nil
	if reached == nil {
		return
	}
	if survivor != nil {
		survivor.loop.poll.Post(func() { survivor.loop.inherit(survivor, reached) })
		return
	}
	for id, set := range *reached {
		if set.n == 0 {
			continue
		}
		work := goneWork{key: s.key, set: set}
		if o := l.srv.loops[id]; o == l {
			l.gone = append(l.gone, work)
			l.poll.Wake()
		} else {
			o.poll.Post(func() {
				o.gone = append(o.gone, work)
			})
		}
	}
}

// inherit merges what a closed connection of the same key had reached.
func (l *loop) inherit(cl *client, reached *reached) {
	if cl.conn == nil { // it left meanwhile and was perhaps the last
		s := &sender{key: cl.key, reached: reached}
		r := l.srv.keys.Lookup((*registry.Key)(&cl.key))
		if survivor := l.present(&cl.key); survivor == nil && r != nil && r.Via() != nil {
			l.linger(s) // it lives on another node
		} else {
			l.depart(s, survivor)
		}
		return
	}
	l.merge(&cl.sender, reached)
}

// merge adds sets to a book.
func (l *loop) merge(s *sender, reached *reached) {
	if s.reached == nil {
		s.reached = reached
		return
	}
	to, from := *s.reached, *reached
	for id := range from {
		// The smaller goes into the larger: a hub that reconnects has a large old set and a
		// small new one, and this is one turn's work.
		if from[id].n > to[id].n {
			from[id], to[id] = to[id], from[id]
		}
		for _, h := range from[id].slots {
			if h != 0 && !to[id].add(h) {
				l.n.ReachedOverflow++
			}
		}
	}
}

// present returns a connection that the key has now, or nil.
func (l *loop) present(key *derp.Key) *client {
	if r := l.srv.keys.Lookup((*[32]byte)(key)); r != nil {
		return r.Active()
	}
	return nil
}

// tellGone queues PeerGone for the next few connections that heard from departed keys.
// Each notice waits behind the packets that were queued before it.
func (l *loop) tellGone() {
	budget := goneSlice
	for budget > 0 && len(l.gone) > 0 {
		w := &l.gone[0]
		if back := l.present(&w.key); back != nil {
			// Its packets may have come already: nobody is told, it inherits whom to tell.
			reached := l.reachNobody()
			(*reached)[l.poll.ID()], w.set = w.set, handleSet{}
			back.loop.poll.Post(func() { back.loop.inherit(back, reached) })
		}
		for ; w.next < len(w.set.slots) && budget > 0; w.next++ {
			h := w.set.slots[w.next]
			if h == 0 {
				continue
			}
			budget--
			c := l.at(h)
			if c == nil || c.client == nil {
				continue
			}
			if c.client.q.Notices() >= noticesMax {
				l.n.ReachedOverflow++
				continue
			}
			b := l.q.Blocks.Get(noticeBytes)
			b.Buf = derp.AppendPeerGone(b.Buf[:0], w.key, derp.GoneDisconnected)
			c.client.q.PushNotice(&l.q, b)
			l.touch(c)
			l.n.GoneDisconnected++
		}
		if w.next >= len(w.set.slots) {
			l.gone[0] = goneWork{}
			if l.gone = l.gone[1:]; len(l.gone) == 0 {
				l.gone = nil
			}
		}
	}
	if len(l.gone) > 0 {
		l.poll.Wake()
	}
}
