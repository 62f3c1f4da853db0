package relay

import (
	"iter"
	"net/netip"
	"time"

	"derpd/relay/derp"
)

// ClientInfo describes one logged-in connection. Several connections may have one key.
type ClientInfo struct {
	// ID names the connection for as long as the process lives; the next one has another. It
	// says nothing about order.
	ID     uint64
	Key    derp.Key
	Remote netip.AddrPort
	Since  time.Time     // of its login, to about a millisecond
	Age    time.Duration // since then
	Login  int64         // the same moment on the loops' own clock, in ns: exact, for sorting

	Active   bool // the key's packets go to this connection
	Dup      bool // the key has more connections than this one
	Home     bool // it calls this relay its home
	MeshPeer bool // it presented the region's mesh key
	NotIdeal bool // its best node is another
	Prober   bool

	Version int    // of the protocol, as the client said
	AppName string // as the client said; empty from most

	Received KindCount // packets from it and their bytes, without keys and headers
	Sent     KindCount // packets to it that the kernel has taken
	Queued   int       // bytes of frames that wait to be sent to it
}

// Clients walks the connections that are logged in, in no order. It may be called from any
// goroutine but a loop's, and blocks none: each loop is asked for a part of its table at a time
// (walkSlots). So the walk is no picture of one moment; a connection that stays is seen once.
func (s *Server) Clients() iter.Seq[ClientInfo] {
	return func(yield func(ClientInfo) bool) {
		part := make([]ClientInfo, 0, walkSlots)
		for _, l := range s.loops {
			for from, more := 0, true; more; from += walkSlots {
				part, more = l.askClients(part[:0], from)
				for _, c := range part {
					if !yield(c) {
						return
					}
				}
			}
		}
	}
}

// askClients has the loop append the clients in one part of its table. more is false at the
// table's end, and when the loop has ended.
func (l *loop) askClients(dst []ClientInfo, from int) (part []ClientInfo, more bool) {
	done := make(chan struct{})
	if !l.poll.Post(func() {
		part, more = l.describe(dst, from)
		close(done)
	}) {
		return dst, false
	}
	<-done
	return part, more
}

func (l *loop) describe(dst []ClientInfo, from int) (part []ClientInfo, more bool) {
	now, wall := l.poll.Now(), time.Now()
	to := min(from+walkSlots, len(l.conns))
	for _, c := range l.conns[min(from, to):to] {
		if c == nil || c.client == nil || c.client.link {
			continue
		}
		cl := c.client
		age := time.Duration(now - cl.since)
		dst = append(dst, ClientInfo{
			ID: uint64(c.h), Key: cl.key, Remote: cl.remote,
			Since: wall.Add(-age), Age: age, Login: cl.since,
			Active: cl.route.Active() == cl, Dup: cl.route.Shared(),
			Home: cl.home, MeshPeer: cl.mesh, NotIdeal: c.poor, Prober: cl.flags&derp.PresentProber != 0,
			Version: int(cl.version), AppName: cl.app,
			Received: cl.received, Sent: cl.sent, Queued: cl.q.Bytes(),
		})
	}
	return dst, to < len(l.conns)
}

// walkSlots is how many slots of its table a loop looks at for Clients at a time. With memory
// that no cache has, each is 0.4 µs, so that the loop forwards nothing for about 50 µs.
const walkSlots = 128
