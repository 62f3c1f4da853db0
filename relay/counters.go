package relay

import (
	"sync"
	"sync/atomic"

	"derpd/netpoll"
	"derpd/relay/queue"
	"derpd/relay/registry"
)

// KindCount counts packets of one kind and their bytes, keys and headers excluded.
type KindCount struct{ Frames, Bytes uint64 }

// Counters are what one loop counts. They are plain numbers of the loop that owns them; a
// reader gets a copy that the loop itself has made (Server.Snapshot).
type Counters struct {
	Accepts    uint64 // TCP connections
	Logins     uint64 // DERP connections
	Upgrades   uint64 // HTTP upgrades to DERP, fast starts included
	WebSockets uint64 // upgrades to DERP over WebSocket
	RateWaits  uint64 // pauses of reading for a client's rate
	HTTP       uint64 // connections handed to the HTTP server

	Handshakes       uint64 // TLS handshakes done
	HandshakesFailed uint64
	TLS              [2]uint64 // by version: 1.2, 1.3
	TLSNow           [2]int    // gauge: clients' connections whose handshake is done

	BytesReceived   uint64 // payload of packets
	BytesSent       uint64
	PacketsReceived [2]uint64 // by kind: other, disco
	PacketsSent     uint64
	CrossLoop       uint64 // packets whose destination another loop owns
	UnknownFrames   uint64

	HomeIn, HomeOut     uint64
	GotPing, SentPong   uint64
	KeepAlives          uint64
	GoneDisconnected    uint64 // PeerGone frames
	GoneNotHere         uint64
	ReachedOverflow     uint64 // pairs not remembered for PeerGone
	WriteTimeouts       uint64
	DupConnections      uint64 // logins to a key that was already here
	Flushes             uint64 // sends built
	FlushedFrames       uint64 // packets in them
	Drops               [dropReasonCount][2]KindCount
	Ends                [reasonCount]uint64
	ForwardedOut        uint64 // packets given to mesh peers
	ForwardedIn         uint64
	LinkSent            uint64 // ForwardPacket frames that the kernel has taken
	MultiCreated        uint64 // keys that came to be reached by a second mesh peer
	MultiDeleted        uint64
	GoneElsewhere       uint64    // departures told by a mesh peer of keys that only others reach
	FlushSizes          Histogram // packets and groups of control frames in each send
	MeshBatches         Histogram // updates that a watcher was handed at once
	MeshRounds          Histogram // buffers that it took until a watcher had been told all
	RoundTrips          RoundTrips
	QueueWait           QueueWait
	Connections         int // gauges: TCP connections of this loop
	Clients, Home, Poor int // logged in; thereof at home here; not ideal
	InHandshake, InHTTP int
	QueuedBytes         int64
}

// drops adds what a queue threw away; overhead is what each frame has beside its packet.
func (c *Counters) drops(why DropReason, d *queue.Drops, overhead int) {
	for k := range d.Frames {
		c.Drops[why][k].Frames += uint64(d.Frames[k])
		c.Drops[why][k].Bytes += uint64(d.Bytes[k] - d.Frames[k]*overhead)
	}
}

// drop counts one packet of that length.
func (c *Counters) drop(why DropReason, k queue.Kind, packet int) {
	c.Drops[why][k&1].Frames++
	c.Drops[why][k&1].Bytes += uint64(packet)
}

// Dropped sums the packets dropped, for all reasons and kinds.
func (c *Counters) Dropped() (n uint64) {
	for _, kinds := range c.Drops {
		n += kinds[0].Frames + kinds[1].Frames
	}
	return n
}

// add sums another loop's counters into c.
func (c *Counters) add(o *Counters) {
	sum := func(dst, src *uint64) { *dst += *src }
	for _, p := range [][2]*uint64{
		{&c.Accepts, &o.Accepts}, {&c.Logins, &o.Logins}, {&c.Upgrades, &o.Upgrades},
		{&c.WebSockets, &o.WebSockets}, {&c.RateWaits, &o.RateWaits}, {&c.HTTP, &o.HTTP},
		{&c.Handshakes, &o.Handshakes},
		{&c.HandshakesFailed, &o.HandshakesFailed},
		{&c.TLS[0], &o.TLS[0]}, {&c.TLS[1], &o.TLS[1]},
		{&c.BytesReceived, &o.BytesReceived}, {&c.BytesSent, &o.BytesSent},
		{&c.PacketsReceived[0], &o.PacketsReceived[0]},
		{&c.PacketsReceived[1], &o.PacketsReceived[1]},
		{&c.PacketsSent, &o.PacketsSent}, {&c.CrossLoop, &o.CrossLoop},
		{&c.UnknownFrames, &o.UnknownFrames}, {&c.HomeIn, &o.HomeIn},
		{&c.HomeOut, &o.HomeOut}, {&c.GotPing, &o.GotPing}, {&c.SentPong, &o.SentPong},
		{&c.KeepAlives, &o.KeepAlives}, {&c.GoneDisconnected, &o.GoneDisconnected},
		{&c.GoneNotHere, &o.GoneNotHere}, {&c.ReachedOverflow, &o.ReachedOverflow},
		{&c.WriteTimeouts, &o.WriteTimeouts}, {&c.DupConnections, &o.DupConnections},
		{&c.ForwardedOut, &o.ForwardedOut}, {&c.ForwardedIn, &o.ForwardedIn},
		{&c.LinkSent, &o.LinkSent}, {&c.MultiCreated, &o.MultiCreated},
		{&c.MultiDeleted, &o.MultiDeleted}, {&c.GoneElsewhere, &o.GoneElsewhere},
		{&c.Flushes, &o.Flushes}, {&c.FlushedFrames, &o.FlushedFrames},
	} {
		sum(p[0], p[1])
	}
	for i := range c.Drops {
		for k := range c.Drops[i] {
			c.Drops[i][k].Frames += o.Drops[i][k].Frames
			c.Drops[i][k].Bytes += o.Drops[i][k].Bytes
		}
	}
	for i := range c.Ends {
		c.Ends[i] += o.Ends[i]
	}
	c.FlushSizes.add(&o.FlushSizes)
	c.MeshBatches.add(&o.MeshBatches)
	c.MeshRounds.add(&o.MeshRounds)
	c.RoundTrips.add(&o.RoundTrips)
	c.QueueWait.add(&o.QueueWait)
	for i, n := range o.TLSNow {
		c.TLSNow[i] += n
	}
	c.Connections += o.Connections
	c.Clients += o.Clients
	c.Home += o.Home
	c.Poor += o.Poor
	c.InHandshake += o.InHandshake
	c.InHTTP += o.InHTTP
	c.QueuedBytes += o.QueuedBytes
}

// Snapshot is the state of the relay at one moment of each loop.
type Snapshot struct {
	Counters
	registry.Counts
	Watchers int             // mesh peers that watch this node
	Loops    []netpoll.Stats // by loop
}

// shared are the process-wide bounds that loops draw on. Touched at accept, handshake and
// login, never per packet.
type shared struct {
	connections atomic.Int64 // open; written by all loops
	handshakes  atomic.Int64 // in flight
	http        atomic.Int64 // handed to the HTTP server
	answers     atomic.Int64 // last responses of the HTTP server that are still to be sent
	preLogin    atomic.Int64 // bytes of long ClientInfo frames
	accepts     acceptBucket
}

// acceptBucket bounds the rate of new connections of all loops.
type acceptBucket struct {
	mu     sync.Mutex
	tokens float64
	at     int64 // loop time of the last look; 0: none yet
}

// take removes a token if there is one.
func (b *acceptBucket) take(now int64, cfg *Config) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	burst := float64(max(cfg.AcceptBurst, 1))
	if b.at == 0 {
		b.tokens = burst
	} else if now > b.at {
		b.tokens = min(burst, b.tokens+float64(now-b.at)/1e9*cfg.AcceptsPerSecond)
	}
	b.at = max(now, b.at, 1)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
