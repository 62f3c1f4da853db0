package reference

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"derpd/relay/derp"
)

// nth tells whether number is one of every n.
func nth(number uint64, n int) bool { return n > 0 && number%uint64(n) == 0 }

// receive decides what becomes of a packet.
func (s *Server) receive(from *client, to derp.Key, content []byte, arrived time.Time) {
	p := &packet{due: arrived.Add(s.opt.Delay), from: from, kind: "other",
		frame: derp.AppendRecvPacket(nil, from.key, content)}
	if derp.LooksLikeDisco(content) {
		p.kind = "disco"
	}
	s.mu.Lock()
	ok := s.judge(p, to)
	s.mu.Unlock()
	if ok {
		s.clock.add(p)
	}
}

// judge counts the packet and marks it; false: it is dropped.
func (s *Server) judge(p *packet, to derp.Key) bool {
	s.stats.Received++
	p.number = s.stats.Received
	if nth(p.number, s.opt.DropEvery) || s.opt.DropShare > 0 && s.random.Float64() < s.opt.DropShare {
		s.drops[[2]string{dropQueue, p.kind}]++
		return false
	}
	p.to = s.clients[to]
	if p.to == nil {
		s.drops[[2]string{dropUnknown, p.kind}]++
		return false
	}
	if nth(p.number, s.opt.MisdirectEvery) {
		i := slices.IndexFunc(s.order, func(c *client) bool { return c.key != to })
		if i >= 0 {
			p.to = s.order[i]
			s.stats.Misdirected++
		}
	}
	content := p.frame[derp.HeaderLen+derp.KeyLen:]
	if nth(p.number, s.opt.CorruptEvery) && len(content) > 0 {
		content[len(content)/2] ^= 1
		s.stats.Corrupted++
	}
	p.twice = nth(p.number, s.opt.DuplicateEvery)
	if nth(p.number, s.opt.ReorderEvery) {
		p.overtake = true
		p.due = p.due.Add(holdMax)
		key := pair{p.from, p.to}
		s.held[key] = append(s.held[key], p)
	}
	return true
}

// deliver is called by the clock when a packet is due.
func (s *Server) deliver(p *packet, late time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.gone {
		return
	}
	key := pair{p.from, p.to}
	if p.overtake { // nobody came to overtake it
		s.held[key] = slices.DeleteFunc(s.held[key], func(h *packet) bool { return h == p })
	}
	s.write(p)
	if late >= 0 && !p.overtake {
		s.stats.Late.Record(late)
	}
	if p.overtake {
		return
	}
	held := s.held[key]
	i := slices.IndexFunc(held, func(h *packet) bool {
		return h.number < p.number && h.kind == p.kind
	})
	if i >= 0 {
		behind := held[i]
		s.held[key] = slices.Delete(held, i, i+1)
		s.clock.forget(behind)
		s.write(behind)
		s.stats.Reordered++
	}
}

// write gives a packet to its receiver, or counts why not.
func (s *Server) write(p *packet) {
	times := 1
	if p.twice {
		times = 2
	}
	for i := range times {
		reason := ""
		if p.to.wire.full() {
			reason = dropQueue
		} else if _, err := p.to.conn.Write(p.frame); err != nil {
			reason = dropGone
		}
		switch {
		case reason == "":
			s.stats.Delivered++
			if i > 0 {
				s.stats.Duplicated++
			}
		case i == 0:
			s.drops[[2]string{reason, p.kind}]++
			return
		}
	}
}

// varz is the page of metrics, as derper's: all pairs of reason and kind are there from the
// beginning.
func (s *Server) varz() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "# TYPE derp_clients_total gauge\nderp_clients_total %d\n", len(s.clients))
	fmt.Fprintf(&b, "# TYPE derp_current_connections gauge\nderp_current_connections %d\n",
		len(s.order))
	fmt.Fprintf(&b, "# TYPE derp_packets_received counter\nderp_packets_received %d\n",
		s.stats.Received)
	fmt.Fprintf(&b, "# TYPE derp_packets_sent counter\nderp_packets_sent %d\n", s.stats.Delivered)
	b.WriteString("# TYPE derp_packets_dropped counter\n")
	for _, reason := range []string{dropGone, dropQueue, dropUnknown} {
		for _, kind := range []string{"disco", "other"} {
			fmt.Fprintf(&b, "derp_packets_dropped{reason=%q,kind=%q} %d\n", reason, kind,
				s.drops[[2]string{reason, kind}])
		}
	}
	return b.String()
}
