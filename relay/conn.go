package relay

import (
	"crypto/tls"
	"net/netip"
	"sync/atomic"

	"derpd/netpoll"
	"derpd/relay/block"
	"derpd/relay/derp"
	"derpd/relay/queue"
	"derpd/relay/registry"
	"derpd/relay/websock"
	"derpd/tlsengine"
)

// phase is where a connection stands.
//
//	hello ─ handshake ─ request ─┬─ login ─ open ─┐
//	        (TLS only)           └─ http ─┘       ├─ dead
//	                               any ─ drain ───┘
type phase uint8

const (
	phaseHello     phase = iota // the first TLS record is not whole yet
	phaseHandshake              // a worker steps the handshake
	phaseRequest                // an HTTP head is not whole yet
	phaseHTTP                   // net/http has it, through a bridge
	phaseLogin                  // upgraded; ClientInfo is awaited or being opened
	phaseOpen                   // logged in
	phaseDrain                  // we end it once what is pending has been sent
	phaseConnect                // our link to a mesh peer: connecting
	phaseLinkHead               // upgrade requested
	phaseLinkKey                // ServerKey awaited
	phaseLink                   // logged in there, or about to be
	phaseDead                   // closed by us; only Sent and Closed are still to come
)

// conn is one connection: 112 bytes, of which a client that is logged in needs every one.
type conn struct {
	h netpoll.Handle
	*early

	phase    phase
	dirty    bool   // on the loop's list for the end of the turn
	paused   bool   // receiving is paused (handshake or login)
	active   bool   // had traffic since the idle check
	fresh    bool   // logged in, and the first idle check is still to come
	spared   bool   // the next beat comes too soon after traffic to be an idle check
	poor     bool   // the client says that this is not its ideal node
	served   bool   // counted as a client's TLS connection until its session is wiped
	drainWhy Reason // of phaseDrain
	lingers  bool   // in phaseDrain: all has been sent, the peer's FIN is awaited
	answers  uint8  // in ctl: to pings, and that a key is not here

	outFrames [2]uint16 // packets in out, by kind
	outBytes  [2]int32
	unsealed  uint32 // the first bytes of ctl, which are handshake flights, not plaintext
	skip      uint32 // bytes of an unknown frame still to be discarded

	ws  *websock.Reader    // nil: DERP without WebSocket around it
	tls *tlsengine.Session // nil: plain TCP, or not there yet
	raw *block.Block       // the beginning of a TLS record, or what waits for a login
	in  *block.Block       // the beginning of an HTTP head or of a frame
	ctl *block.Block       // bytes of the relay's own, sent ahead of data
	out *block.Block       // given to Send, until Sent

	keepAt int64 // when the next keepalive is due
	client *client
}

// early is what a connection has before a login, or instead of one.
type early struct {
	remote netip.AddrPort
	hs     *handshake
	state  *tls.ConnectionState // until the first request has been read
	login  *login
	bridge *bridge
	link   *link // we dialled: the connection is ours to a mesh peer
	budget int32 // bytes drawn from the pre-login budget
}

// settled is the early of every client that has logged in: nothing is left of its own. All loops
// read it, and none writes to it.
var settled early

// peer is the address at the other end.
func (c *conn) peer() netip.AddrPort {
	if c.client != nil && c.early == &settled {
		return c.client.remote
	}
	return c.remote
}

// client is a logged-in connection: what other loops may know of it, and its queues. What few
// have, or only while they talk, hangs on a pointer: a silent client is 256 bytes.
type client struct {
	sender // its key is never written after login and read by every loop; the rest is the owner's

	// Never written after login; read by every loop.
	loop    *loop
	h       netpoll.Handle
	remote  netip.AddrPort
	app     string // its name, as it said; empty from most
	version int32  // of the protocol, as it said
	flags   derp.PresentFlags
	mesh    bool // it presented the mesh key
	link    bool // not a client at all, but our own connection to a mesh peer

	home bool // the owner's

	// arrived: the client is on its loop's list of arrivals. Set by the pusher that puts it
	// there, cleared by the owner before it takes the inbox.
	arrived     atomic.Bool
	nextArrival *client     // link in that list; belongs to whoever set arrived
	inbox       queue.Inbox // pushed to by any loop

	node *node // nil unless another node is at the other end; set under presence.mu

	// All below belongs to the owner.
	conn     *conn // nil once the connection is gone
	route    *registry.Route[client]
	q        queue.Queue
	paced    *paced // nil before the first frame that a rate applies to
	notHere  bucket
	since    int64 // login time
	received KindCount
	sent     KindCount
}

// overhead is what each frame on the queue has beside its packet: a link's are ForwardPacket, which
// names the destination too. c may be nil.
func (c *client) overhead() int {
	if c != nil && c.link {
		return packetOverhead + derp.KeyLen
	}
	return packetOverhead
}

// node is what a connection with another node of the region has more than others.
type node struct {
	events  []presenceEvent       // under presence.mu: a watcher's, not taken yet
	pending []presenceEvent       // a watcher's, still to be encoded
	rounds  uint16                // buffers of updates since pending was empty
	reaches map[derp.Key]struct{} // a link's: keys that the other node has announced
}

// sender is the book of a key that sends: where its last packet went, and whom it reached.
type sender struct {
	key     derp.Key
	last    *registry.Route[client] // route of the last destination
	lastTo  *client                 // its active connection, known to be in reached
	reached *reached                // nil before the first packet
}

// reached holds, by loop, the connections that have been sent a packet of a key: they are told
// when it leaves.
type reached []handleSet

// end closes a connection for a reason that is not the kernel's: what fits in one send is
// said first (a TLS alert or close_notify).
func (l *loop) end(c *conn, why Reason) { l.endErr(c, why, nil) }

// endErr is end with the TLS error that the alert is to tell.
func (l *loop) endErr(c *conn, why Reason, tlsErr error) {
	if c.phase == phaseDead {
		return
	}
	if c.tls != nil && c.out == nil && why != EndPeerReset && why != EndWriteTimeout {
		flight := int(c.unsealed) // of the handshake, if it has not left yet: it goes first
		b := l.q.Blocks.Get(flight + 2*c.tls.Overhead())
		b.Buf = b.Buf[:0]
		if flight > 0 {
			b.Buf = append(b.Buf, c.ctl.Buf[:flight]...)
		}
		if tlsErr != nil {
			b.Buf = c.tls.AppendAlert(b.Buf, tlsErr)
		} else {
			b.Buf = c.tls.AppendClose(b.Buf)
		}
		if len(b.Buf) > 0 {
			l.send(c, b)
		} else { // the peer's own alert has no answer
			b.Free(&l.q.Blocks)
		}
	}
	l.forget(c, why)
	l.poll.Close(c.h)
}

// drain ends a connection once everything pending has been sent.
func (l *loop) drain(c *conn, why Reason) {
	if c.phase != phaseDrain && why == EndHTTPDone {
		l.srv.shared.answers.Add(1)
	}
	c.phase = phaseDrain
	c.drainWhy = why
	l.poll.SetTimeout(c.h, drainTimeout)
	l.touch(c)
}

// drained ends a connection that has been sent its last bytes. A peer that may be in the
// middle of a request, or owes the answer to a WebSocket's close frame, is read on for a
// moment: to close with bytes unread is a reset, which would take our last words from it.
func (l *loop) drained(c *conn) {
	switch {
	case c.drainWhy != EndRequestTooLarge && c.drainWhy != EndHTTPCap &&
		c.drainWhy != EndWebSocket:
		l.end(c, c.drainWhy)
	case !c.lingers:
		c.lingers = true
		l.poll.SetTimeout(c.h, lingerTimeout)
	}
}

// endOfStream handles the peer's FIN. A peer that half-closes behind an HTTP request still
// gets its answer; any other conversation is over.
func (l *loop) endOfStream(c *conn) {
	switch c.phase {
	case phaseHTTP:
		c.bridge.peerClosed()
	case phaseDrain:
		if c.lingers {
			l.end(c, c.drainWhy)
		}
	default:
		l.end(c, EndPeerClosed)
	}
}

// forget frees what a connection holds and takes it out of the registry. The slot stays
// until Closed.
func (l *loop) forget(c *conn, why Reason) {
	if c.phase == phaseDrain {
		if c.drainWhy == EndHTTPDone {
			l.srv.shared.answers.Add(-1)
		}
		if why == EndPeerReset || why == EndShutdown {
			why = c.drainWhy // the reason we had came first
		}
	}
	l.n.Ends[why]++
	if why == EndWriteTimeout {
		l.n.WriteTimeouts++
	}
	l.refuse(c, why)
	l.srv.log.Debug("connection ended", "remote", c.peer(), "reason", why.String(),
		"side", why.Side().String())
	c.phase = phaseDead
	if c.hs != nil {
		l.dropHandshake(c)
	}
	if c.bridge != nil {
		l.dropBridge(c)
	}
	if c.login != nil {
		c.login = nil
	}
	l.returnBudget(c)
	if c.client != nil {
		l.leave(c)
	}
	if c.link != nil {
		l.linkDown(c, why)
	}
	for _, b := range []**block.Block{&c.raw, &c.in, &c.ctl} {
		if *b != nil {
			l.lend(*b) // frames cut from it in this turn may still be queued elsewhere
			*b = nil
		}
	}
	if c.tls != nil {
		if c.served {
			l.n.TLSNow[versionIndex(c.tls)]--
		}
		c.tls.Wipe()
		c.tls = nil
	}
}

// returnBudget gives back what a long ClientInfo drew.
func (l *loop) returnBudget(c *conn) {
	if c.budget > 0 {
		l.srv.shared.preLogin.Add(-int64(c.budget))
		c.budget = 0
	}
}
