package main

import (
	"sync"
	"sync/atomic"

	"github.com/panjf2000/gnet/v2"

	"derpd/bench/baseline/front"
	"derpd/relay/derp"
)

// queueBytesMax is what waits for a client that does not read, and once more in its inbox.
const queueBytesMax = 256 << 10

func main() {
	front.Main(front.Program{Name: "gnet", NoTLS: "gnet has no TLS", STUN: true, Serve: serve})
}

// relay implements gnet.EventHandler.
type relay struct {
	gnet.BuiltinEventEngine
	cfg    *front.Config
	counts front.Counters

	mu      sync.RWMutex
	clients map[derp.Key]*client
}

// client is one connection.
type client struct {
	conn  gnet.Conn
	loop  gnet.EventLoop
	login front.Login
	in    bool // logged in, as key
	key   derp.Key
	last  *client // to whom it sent last
	gone  atomic.Bool

	inbox inbox
}

// inbox is what other loops have for a client.
type inbox struct {
	mu      sync.Mutex
	bytes   []byte
	packets uint64
}

func serve(cfg *front.Config) error {
	r := &relay{cfg: cfg, clients: make(map[derp.Key]*client)}
	var addrs []string // bound in this order: who finds TCP open finds STUN too
	if cfg.STUN != "" {
		addrs = append(addrs, "udp://"+cfg.STUN)
	}
	addrs = append(addrs, "tcp://"+cfg.Addr)
	return gnet.Rotate(r, addrs, gnet.WithMulticore(true))
}

// OnOpen implements gnet.EventHandler.
func (r *relay) OnOpen(conn gnet.Conn) ([]byte, gnet.Action) {
	conn.SetContext(&client{conn: conn, loop: conn.EventLoop()})
	return nil, gnet.None
}

// OnClose implements gnet.EventHandler.
func (r *relay) OnClose(conn gnet.Conn, _ error) gnet.Action {
	c := conn.Context().(*client)
	if c.in {
		c.gone.Store(true)
		c.inbox.mu.Lock()
		r.counts.Gone.Add(c.inbox.packets)
		c.inbox.bytes, c.inbox.packets = nil, 0
		c.inbox.mu.Unlock()
		r.counts.Clients.Add(-1)
		r.mu.Lock()
		if r.clients[c.key] == c {
			delete(r.clients, c.key)
		}
		r.mu.Unlock()
	}
	return gnet.None
}

// OnTraffic implements gnet.EventHandler: bytes have come, or another loop has left some.
func (r *relay) OnTraffic(conn gnet.Conn) gnet.Action {
	c, ok := conn.Context().(*client)
	if !ok { // a datagram
		return answer(conn)
	}
	if !r.empty(c) {
		return gnet.Close
	}
	in, err := conn.Peek(-1)
	if err != nil || len(in) == 0 {
		return gnet.None
	}
	used := 0
	if !c.in {
		s, err := c.login.Next(r.cfg, &r.counts, in)
		if err != nil {
			return gnet.Close
		}
		if used = s.Used; s.In { // before the reply, which says that packets will come
			r.enter(c, s.Key)
		}
		if !write(c, s.Reply) || s.Last {
			return gnet.Close
		}
	}
	if c.in {
		n, ok := r.frames(c, in[used:])
		if !ok {
			return gnet.Close
		}
		used += n
	}
	if used > 0 { // for gnet, 0 is all
		_, _ = conn.Discard(used) // never fails
	}
	return gnet.None
}

// write sends bytes of our own on the client's loop.
func write(c *client, b []byte) bool {
	if len(b) == 0 {
		return true
	}
	_, err := c.conn.Write(b)
	return err == nil
}

// enter makes a client known; one that had its key before is disconnected.
func (r *relay) enter(c *client, key derp.Key) {
	c.in, c.key = true, key
	r.mu.Lock()
	old := r.clients[key]
	r.clients[key] = c
	r.mu.Unlock()
	r.counts.Clients.Add(1)
	if old != nil {
		_ = old.conn.Close() // it fails only if it is closed
	}
}

// find looks a destination up; nil if nobody has the key.
func (r *relay) find(c *client, key derp.Key) *client {
	if c.last != nil && c.last.key == key && !c.last.gone.Load() {
		return c.last
	}
	r.mu.RLock()
	c.last = r.clients[key]
	r.mu.RUnlock()
	return c.last
}

// frames takes all whole frames of a client and returns how many bytes they are; false if it broke
// the protocol.
func (r *relay) frames(c *client, in []byte) (used int, ok bool) {
	var to *client // of in[from:used], which are packets
	from, packets := 0, uint64(0)
	flush := func() {
		if packets > 0 {
			r.deliver(c, to, in[from:used], packets)
		}
		packets = 0
	}
	for {
		frame, kind, err := front.Next(in[used:])
		if err != nil {
			return used, false
		}
		if frame == nil {
			flush()
			return used, true
		}
		var next *client
		if kind == derp.FrameSendPacket {
			r.counts.Received.Add(1)
			if next = r.find(c, front.Destination(frame)); next == nil {
				r.counts.Unknown.Add(1)
			}
		}
		if next != to || next == nil {
			flush()
			to, from = next, used
		}
		switch {
		case next != nil:
			derp.SendToRecv(frame, c.key)
			packets++
		case kind == derp.FramePing:
			pong, err := front.Pong(frame)
			if err != nil || !write(c, pong) {
				return used, false
			}
		}
		used += len(frame)
	}
}

// deliver gives packets to their destination.
func (r *relay) deliver(from, to *client, b []byte, packets uint64) {
	if to.loop == from.loop {
		r.send(to, b, packets)
		return
	}
	to.inbox.mu.Lock()
	defer to.inbox.mu.Unlock()
	if to.gone.Load() {
		r.counts.Gone.Add(packets)
		return
	}
	if len(to.inbox.bytes)+len(b) > queueBytesMax {
		r.counts.Full.Add(packets)
		return
	}
	to.inbox.bytes = append(to.inbox.bytes, b...)
	to.inbox.packets += packets
	if len(to.inbox.bytes) == len(b) {
		_ = to.conn.Wake(nil) // of a connection that is closed nothing is left to do
	}
}

// empty sends what other loops have left for a client, on its own loop; false if it is gone.
func (r *relay) empty(c *client) bool {
	c.inbox.mu.Lock()
	b, packets := c.inbox.bytes, c.inbox.packets
	c.inbox.bytes, c.inbox.packets = nil, 0
	c.inbox.mu.Unlock()
	if packets > 0 {
		r.send(c, b, packets)
	}
	return !c.gone.Load()
}

// send writes packets on the destination's loop.
func (r *relay) send(to *client, b []byte, packets uint64) {
	switch {
	case to.gone.Load():
		r.counts.Gone.Add(packets)
	case to.conn.OutboundBuffered()+len(b) > queueBytesMax:
		r.counts.Full.Add(packets)
	case !write(to, b): // then gnet has closed it
		r.counts.Gone.Add(packets)
	default:
		r.counts.Sent.Add(packets)
	}
}

var _ gnet.EventHandler = (*relay)(nil)
