package relay

import (
	"fmt"

	"derpd/netpoll/fakepoll"
	"derpd/relay/derp"
	"derpd/tlsengine"
)

// simConn is one connection of a simulated client, from dial to end.
type simConn struct {
	world *simWorld
	id    int // index in world.conns
	node  int // whose key it logs in with
	peer  *fakepoll.Peer

	// How it logs in.
	fast  bool // Derp-Fast-Start
	early bool // ClientInfo follows the request without waiting for the greeting
	hasty bool // and packets follow it
	odd   simOddity

	// The way out: plain, sealed into wire, written to peer.
	tls      *tlsengine.Session
	hello    []byte // until the handshake is over
	plain    []byte
	plainEnd int // bytes ever appended to plain
	wire     []byte
	wireEnd  int // bytes ever appended to wire
	marks    []simMark
	written  int // bytes of the plain stream that the relay can understand
	sent     []simPacket
	pings    []uint64 // sent, not answered
	pinged   int
	home     bool
	leaving  bool

	// The way in.
	flights int // handshake records still to come
	raw     []byte
	stream  []byte
	greeted bool // 101 has come, or is not expected
	keyed   bool // ServerKey
	ready   bool // ServerInfo
	refused bool // an HTTP error
	ended   bool // close_notify
	over    bool // the peer is closed and read
	frozen  bool
	shared  derp.Shared
	beats   []int64 // when keepalives were read, virtual time
	pongs   int
	notHere int
	parsed  int              // packets received
	lastOf  map[int]*simConn // by node: whose packet came last
	seen    map[int]int      // by sender and class: the last sequence number
	gone    map[int]bool     // by node: told gone since its last packet
	before  []uint64         // packets that others' connections had got through at our login
	barred  map[int]bool     // connections whose packets PeerGone has ended
	client  *client          // the relay's side of us, since it logged us in
}

// simMark ties a place in the written bytes to one in the plain stream.
type simMark struct{ wire, plain int }

// begin starts an ordinary connection.
func (c *simConn) begin() {
	w := c.world
	c.fast = w.odds(2)
	c.early = c.fast || w.odds(3)
	c.hasty = c.early && w.odds(3)
	c.greeted = c.fast
	c.open()
	if c.early {
		c.login()
	}
	if c.hasty {
		for range 1 + w.rand.IntN(4) {
			c.send(c.someNode(), w.rand.IntN(1500), w.odds(3))
		}
	}
	c.write(w.odds(2))
}

// open says hello, if there is TLS, and asks for the upgrade.
func (c *simConn) open() {
	w := c.world
	if w.rules.tls {
		c.sayHello(0)
	}
	request := "GET /derp HTTP/1.1\r\nHost: derp\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n"
	if c.fast {
		request += "Derp-Fast-Start: 1\r\n"
	}
	if w.odds(4) {
		request += "Ideal-Node: 7a\r\n"
	}
	c.say([]byte(request + "\r\n"))
}

// sayHello begins the fake handshake.
func (c *simConn) sayHello(flags byte) {
	w := c.world
	body := make([]byte, simHelloMin+w.rand.IntN(400))
	if w.odds(10) {
		body = make([]byte, simHelloMin+w.rand.IntN(10_000))
	}
	for i := range simHelloMin {
		body[i] = byte(w.rand.Uint32())
	}
	body[0] = flags
	c.flights = 1
	if w.odds(2) {
		body[0] |= simHelloLong
		c.flights = 2
	}
	c.hello = body
	c.wire = simRecord(c.wire, 1, body)
	c.wireEnd = len(c.wire)
	if body[0] == 0 && w.odds(2) {
		c.secure() // its first record follows the hello
	}
}

// secure makes the session: from here on everything is sealed.
func (c *simConn) secure() {
	session, server := simPair(c.hello)
	server.Wipe()
	c.tls = &session
}

// flight takes a handshake record of the relay.
func (c *simConn) flight(rec []byte) {
	w := c.world
	if string(rec) == string(simAlert) && c.odd == oddHello {
		c.flights = 0
		c.ended = true
		return
	}
	if string(rec) != string(simFlight) {
		w.wrong("%v: a handshake record of %d bytes is not intact", c, len(rec))
	}
	c.flights--
	if c.flights == 1 { // its turn, then the relay's
		before := len(c.wire)
		c.wire = simRecord(c.wire, 3, make([]byte, 40+w.rand.IntN(100)))
		c.wireEnd += len(c.wire) - before
		if w.odds(2) {
			c.secure()
		}
	} else if c.tls == nil {
		c.secure()
	}
}

// login sends ClientInfo and remembers how far everybody was.
func (c *simConn) login() {
	w := c.world
	var nonce [derp.NonceLen]byte
	for i := range nonce {
		nonce[i] = byte(w.rand.Uint32())
	}
	info := derp.ClientInfo{Version: derp.ProtocolVersion, CanAckPings: w.odds(2)}
	frame, shared, err := derp.AppendClientInfo(nil, simKeys()[c.node].private, w.srv.Public(),
		info, nonce)
	if err != nil {
		panic(err)
	}
	c.shared = shared
	c.before = make([]uint64, len(w.conns))
	for i, other := range w.conns {
		if other.client != nil {
			c.before[i] = other.client.received.Frames
		}
	}
	c.say(frame)
}

// say appends to the plain stream.
func (c *simConn) say(b []byte) {
	c.plain = append(c.plain, b...)
	c.plainEnd += len(b)
}

// write seals and writes what waits: all of it, or some, cut anywhere.
func (c *simConn) write(all bool) {
	if c.leaving {
		return
	}
	w := c.world
	for len(c.plain) > 0 && (c.tls != nil || !w.rules.tls) {
		n := len(c.plain)
		if !all && w.odds(2) {
			n = 1 + w.rand.IntN(n)
		}
		c.seal(n)
		if !all && w.odds(2) {
			break
		}
	}
	n := len(c.wire)
	if n == 0 {
		return
	}
	if !all && w.odds(2) {
		n = 1 + w.rand.IntN(n)
	}
	c.peer.Write(c.wire[:n])
	c.wire = append(c.wire[:0], c.wire[n:]...)
	at := c.wireEnd - len(c.wire)
	for len(c.marks) > 0 && c.marks[0].wire <= at {
		c.written = c.marks[0].plain
		c.marks = c.marks[1:]
	}
	if c.tls == nil && !w.rules.tls {
		c.written = at
	}
}

// seal moves n bytes of the plain stream to the wire.
func (c *simConn) seal(n int) {
	if c.tls == nil {
		c.wire = append(c.wire, c.plain[:n]...)
		c.wireEnd += n
	} else {
		n = min(n, tlsengine.MaxPlaintext)
		before := len(c.wire)
		c.wire = c.tls.SealStart(c.wire)
		c.wire = append(c.wire, c.plain[:n]...)
		c.wire = c.tls.SealFinish(c.wire, before)
		c.wireEnd += len(c.wire) - before
		c.marks = append(c.marks, simMark{c.wireEnd, c.plainEnd - len(c.plain) + n})
	}
	c.plain = append(c.plain[:0], c.plain[n:]...)
}

// act does one random thing.
func (c *simConn) act() {
	w := c.world
	const backlogMax = 400 << 10 // a client, too, has a limit
	c.write(w.odds(2))
	if w.odds(3) {
		c.read()
	}
	if c.leaving || len(c.plain)+len(c.wire) > backlogMax {
		return
	}
	switch n := w.rand.IntN(200); {
	case n < 2:
		c.leave()
	case n < 3 && !w.rules.gentle:
		c.leaving = true
		c.peer.Reset()
	case n < 14:
		c.frozen = !c.frozen && w.odds(2)
		c.peer.Freeze(c.frozen)
	case n < 26:
		window := -1
		if w.odds(2) {
			window = w.rand.IntN(1 + w.rand.IntN(8000))
		}
		c.peer.SetWindow(window)
	case n < 40:
		c.write(true)
	case !c.ready:
	case n < 52:
		c.chat()
	case n < 60: // a burst
		node, disco, size := c.someNode(), w.odds(3), w.rand.IntN(2000)
		for range 20 + w.rand.IntN(60) {
			c.send(node, w.rand.IntN(1+size), disco)
		}
	case n < 64: // the largest
		node, disco := c.someNode(), w.odds(3)
		for range 1 + w.rand.IntN(6) {
			c.send(node, w.rand.IntN(derp.MaxPacket+1), disco)
		}
	case n < 65:
		c.send(c.someNode(), derp.MaxPacket, w.odds(2))
	default:
		for range 1 + w.rand.IntN(4) {
			c.send(c.someNode(), w.rand.IntN(1+w.rand.IntN(1500)), w.odds(3))
		}
	}
}

// chat says something that is no packet.
func (c *simConn) chat() {
	w := c.world
	switch w.rand.IntN(4) {
	case 0, 1:
		c.ping()
	case 2:
		c.home = w.odds(2)
		c.say(derp.AppendNotePreferred(nil, c.home))
	case 3: // a frame of the future, or one that only servers send
		types := [...]derp.FrameType{derp.FramePong, derp.FrameClientInfo, derp.FrameRecvPacket,
			0x42, 0xff}
		body := make([]byte, w.rand.IntN(1+w.rand.IntN(derp.MaxUnknown+1)))
		t := types[w.rand.IntN(len(types))]
		c.say(append(derp.AppendHeader(nil, t, len(body)), body...))
	}
}

func (c *simConn) ping() {
	c.pinged++
	var data [derp.PingLen]byte
	token := uint64(c.id)<<32 | uint64(c.pinged)
	for i := range data {
		data[i] = byte(token >> (8 * i))
	}
	c.pings = append(c.pings, token)
	extra := c.world.rand.IntN(1 + c.world.rand.IntN(derp.MaxPing-derp.PingLen+1))
	frame := derp.AppendHeader(nil, derp.FramePing, derp.PingLen+extra)
	c.say(append(append(frame, data[:]...), make([]byte, extra)...))
}

// someNode picks a destination: mostly who is there, or a neighbour, so that pairs talk long;
// at times oneself, or a key that never logs in.
func (c *simConn) someNode() int {
	w := c.world
	switch w.rand.IntN(12) {
	case 0:
		return c.node
	case 1:
		return w.rules.nodes + w.rand.IntN(simKeyCount-w.rules.nodes)
	case 2:
		return w.rand.IntN(w.rules.nodes)
	case 3, 4, 5, 6, 7:
		return w.live[w.rand.IntN(len(w.live))].node
	}
	return (c.node + 1 + w.rand.IntN(2)) % w.rules.nodes
}

// leave ends the connection in order, whatever is still under way.
func (c *simConn) leave() {
	if c.leaving {
		return
	}
	if c.tls != nil && len(c.wire) == 0 && c.world.odds(2) {
		c.peer.Write(c.tls.AppendClose(nil))
	}
	c.leaving = true
	c.peer.CloseWrite()
}

// thaw undoes everything that holds the relay back.
func (c *simConn) thaw() {
	c.frozen = false
	c.peer.Freeze(false)
	c.peer.SetWindow(-1)
}

// look finds the relay's side of a connection that has logged in.
func (c *simConn) look() {
	if c.client != nil || !c.peer.Accepted() {
		return
	}
	h := c.peer.Handle()
	for _, rc := range c.world.srv.loops[h.Loop()].conns {
		if rc != nil && rc.h == h && rc.client != nil {
			c.client = rc.client
		}
	}
}

// here reports whether the relay still has it as a client.
func (c *simConn) here() bool { return c.client != nil && c.client.conn != nil }

func (c *simConn) String() string { return fmt.Sprintf("conn %d of node %d", c.id, c.node) }
