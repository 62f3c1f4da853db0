package relay

import (
	"derpd/relay/derp"
)

// checkSettled looks at a relay in which nothing is under way.
func (w *simWorld) checkSettled() {
	n := w.totals()
	w.checkAccounts(&n)
	keys, here, homes := make(map[int]bool), 0, 0
	for _, c := range w.live {
		if !c.here() {
			continue
		}
		here++
		keys[c.node] = true
		if c.client.home != c.home {
			w.wrong("%v: home is %t, it said %t", c, c.client.home, c.home)
		}
		if c.home {
			homes++
		}
		if got, want := c.client.received.Frames, c.arrived(); got != want && !c.leaving {
			w.wrong("%v: the relay got %d packets of it, it sent %d", c, got, want)
		}
		if got := c.client.sent.Frames; got != uint64(c.parsed) {
			w.wrong("%v: the relay sent it %d packets, it got %d", c, got, c.parsed)
		}
	}
	if n.Keys != len(keys) || n.Conns != here || n.Clients != here || n.Home != homes {
		w.wrong("gauges: %d keys, %d and %d connections, %d at home; want %d, %d, %d",
			n.Keys, n.Conns, n.Clients, n.Home, len(keys), here, homes)
	}
	w.checkGoneTold()
}

// checkActive: of several connections of a key, the one that spoke last gets its packets.
func (w *simWorld) checkActive() {
	for _, c := range w.live {
		if !c.here() || c.leaving || !c.client.route.Shared() {
			continue
		}
		c.ping()
		if !w.until(w.quiet) {
			w.wrong("does not settle: %s", w.unquiet())
		}
		if c.here() && c.client.route.Active() != c.client {
			w.wrong("%v spoke last and is not the active one of its key", c)
		}
	}
}

// arrived counts the packets that were written whole.
func (c *simConn) arrived() (n uint64) {
	for i := range c.sent {
		if c.sent[i].end <= c.written {
			n++
		}
	}
	return n
}

// checkGoneTold: whoever heard from a key that has left has been told so.
func (w *simWorld) checkGoneTold() {
	present := make(map[int]bool)
	for _, c := range w.conns {
		present[c.node] = present[c.node] || c.here()
	}
	for _, c := range w.live {
		for node, from := range c.lastOf {
			if c.here() && !present[node] && !c.gone[node] {
				w.wrong("%v: never told that node %d, heard from by %v, has left", c, node, from)
			}
		}
	}
}

// checkAccounts: every packet received is sent or counted as dropped, and what is counted as
// sent is what the peers got, but for what a reset destroyed on its way.
func (w *simWorld) checkAccounts(n *Snapshot) {
	received := n.PacketsReceived[0] + n.PacketsReceived[1]
	if dropped := n.Dropped(); received != n.PacketsSent+dropped {
		w.wrong("conservation: %d packets received, %d sent, %d dropped", received, n.PacketsSent,
			dropped)
	}
	var dropBytes, failed uint64
	for why, kinds := range n.Drops {
		for _, d := range kinds {
			dropBytes += d.Bytes
			if DropReason(why) == DropWriteError {
				failed += d.Frames
			}
		}
	}
	if n.BytesReceived != n.BytesSent+dropBytes {
		w.wrong("conservation: %d bytes received, %d sent, %d dropped", n.BytesReceived,
			n.BytesSent, dropBytes)
	}
	parsed, lost := uint64(0), uint64(0)
	for _, c := range w.conns {
		parsed += uint64(c.parsed)
		lost += c.lostMax()
	}
	if n.PacketsSent > parsed+lost {
		w.wrong("%d packets counted as sent, peers got %d and resets destroyed %d at most",
			n.PacketsSent, parsed, lost)
	}
	if parsed > n.PacketsSent+failed {
		w.wrong("peers got %d packets, %d were counted as sent and %d as broken off",
			parsed, n.PacketsSent, failed)
	}
	w.checkEnds(n)
}

// lostMax is how many packets a reset can have kept from this peer, if there was one.
func (c *simConn) lostMax() uint64 {
	lost := c.peer.LostInFlight()
	if lost == 0 {
		return 0
	}
	// A record of which a byte is lost is lost. The smallest packet is empty.
	return uint64(lost+len(c.raw)+len(c.stream))/(derp.HeaderLen+derp.KeyLen) + 1
}

// checkEnds: the relay ends nobody for a fault that he has not committed.
func (w *simWorld) checkEnds(n *Snapshot) {
	for why := range reasonCount {
		switch why {
		case EndPeerClosed, EndPeerReset, EndHandshakeTimeout, EndRequestTimeout, EndLoginTimeout,
			EndShutdown:
			continue
		case EndWriteTimeout:
			if !w.rules.forever {
				continue
			}
		case EndHandshakeCap:
			if w.rules.handshake > 0 {
				continue
			}
		case EndConnectionCap:
			if w.rules.crowdMax > 0 {
				continue
			}
		case EndKernel:
		}
		if n.Ends[why] > w.provoked[why] {
			w.wrong("%d connections ended for %v, %d had earned it", n.Ends[why], why,
				w.provoked[why])
		}
	}
}

// checkEmpty looks at a relay that everybody has left: nothing is kept.
func (w *simWorld) checkEmpty() {
	n := w.totals()
	w.checkAccounts(&n)
	if n.Keys|n.Conns|n.DupKeys|n.DupConns != 0 {
		w.wrong("the registry still has %+v", n.Counts)
	}
	if n.Connections|n.Clients|n.Home|n.Poor|n.InHandshake|n.InHTTP != 0 {
		w.wrong("gauges of an empty relay: %d connections, %d clients, %d home, %d poor, "+
			"%d in handshake, %d in HTTP", n.Connections, n.Clients, n.Home, n.Poor,
			n.InHandshake, n.InHTTP)
	}
	if w.handshakes != 0 {
		w.wrong("%d handshakes were neither finished nor stopped", w.handshakes)
	}
	s := &w.srv.shared
	if s.connections.Load()|s.handshakes.Load()|s.http.Load()|s.preLogin.Load() != 0 {
		w.wrong("shared counters: %d connections, %d handshakes, %d HTTP, %d bytes before login",
			s.connections.Load(), s.handshakes.Load(), s.http.Load(), s.preLogin.Load())
	}
	for i, l := range w.srv.loops {
		if lent, held := l.q.Blocks.Lent(), l.q.Held(); lent != 0 || held != 0 {
			w.wrong("loop %d: %d bytes of blocks are still lent, queues hold %d", i, lent, held)
		}
		for _, c := range l.conns {
			if c != nil {
				w.wrong("loop %d: slot %d is still taken", i, c.h.Slot())
			}
		}
	}
}
