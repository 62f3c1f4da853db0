package relay

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"derpd/netpoll"
	"derpd/netpoll/fakepoll"
	"derpd/relay/derp"
)

const (
	meshNodes   = 3
	meshClients = 6
)

// meshWorld is a region of real relays over fake loops, one each, all in one world: they dial
// each other, and themselves, through it. Clients come and go at any node, and nodes end, with
// or without a word, and return. Everything follows from a seed.
type meshWorld struct {
	*fakepoll.World
	rng     *rand.Rand
	key     derp.MeshKey
	nodes   []*meshNode
	clients []*meshClient
	work    []func() // of workers and of goroutines, done between turns
	loops   int      // used so far: their indexes are not given twice

	kills  int                 // of nodes so far
	sent   map[meshPacket]bool // true when it has arrived
	order  map[meshWay]uint32  // the last that arrived
	faults []string
}

type meshNode struct {
	n     int
	addr  netip.AddrPort
	srv   *Server
	poll  *fakepoll.Loop
	loop  *loop
	ended bool
}

// meshPacket names a packet: who sent it to whom, over which of their connections, and when.
type meshPacket struct {
	from, to byte
	epoch    uint32 // of the sender's connections
	n        uint32
}

// meshWay is what must keep its order.
type meshWay struct {
	from, to      byte
	epoch, toward uint32
	disco         bool
	kills         int // a way that breaks may overtake
}

func newMeshWorld(seed uint64, f fakepoll.Faults) *meshWorld {
	w := &meshWorld{World: fakepoll.New(seed, f), key: derp.MeshKey(bytes.Repeat([]byte{7}, 32)),
		sent: map[meshPacket]bool{}, order: map[meshWay]uint32{}}
	w.rng = w.Rand()
	for n := range meshNodes {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n + 1)}), 443)
		w.nodes = append(w.nodes, &meshNode{n: n, addr: addr})
	}
	for _, nd := range w.nodes {
		w.boot(nd)
	}
	for n := range meshClients {
		w.clients = append(w.clients, &meshClient{w: w, n: byte(n), key: testKey(n + 1),
			pub: testKey(n + 1).Public(), gone: map[derp.Key]int{}})
	}
	return w
}

// boot starts a node, or starts it again: with its key, and nothing else of what it was.
func (w *meshWorld) boot(nd *meshNode) {
	later := func(fn func()) { w.work = append(w.work, fn) }
	cfg := Config{Key: testKey(100 + nd.n), Seed: uint64(nd.n) + 1, Submit: later,
		Mesh: Mesh{Key: w.key, Go: later, After: w.After}}
	for _, peer := range w.nodes { // itself too: its name may stand in -mesh-with
		cfg.Mesh.Peers = append(cfg.Mesh.Peers, MeshPeer{Name: fmt.Sprint("node", peer.n),
			Resolve: func(context.Context) ([]netip.AddrPort, error) {
				return []netip.AddrPort{peer.addr}, nil
			}})
	}
	nd.srv = New(cfg)
	nd.poll = w.Loop(w.loops, netpoll.ArenaBytesDefault)
	w.loops++
	nd.loop = nd.srv.Attach(nd.poll, 1).(*loop)
	for len(nd.srv.loops) < w.loops { // handles name a loop by its index in the world
		nd.srv.loops = append(nd.srv.loops, nd.loop)
	}
	w.Attach(nd.poll, nd.loop)
	w.Route(nd.addr, nd.poll, 0)
	nd.ended = false
	nd.srv.StartMesh()
}

// kill ends a node: as a crash does, or with its goodbyes.
func (w *meshWorld) kill(nd *meshNode) {
	if w.rng.IntN(2) == 0 {
		nd.poll.Post(nd.loop.shutdown)
	}
	nd.poll.Stop()
	nd.ended = true
	w.kills++
	for _, c := range w.clients {
		if c.node == nd {
			c.leave()
		}
	}
}

// pass lets time go by, and workers work.
func (w *meshWorld) pass(d time.Duration) {
	for end := w.Now() + d; w.Now() < end; {
		w.Advance(min(d, 5*time.Millisecond))
		for len(w.work) > 0 {
			fn := w.work[0]
			w.work = w.work[1:]
			fn()
		}
		for _, c := range w.clients {
			c.read()
		}
	}
}

func (w *meshWorld) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// meshClient is a key that connects to one node at a time.
type meshClient struct {
	w    *meshWorld
	n    byte
	key  derp.PrivateKey
	pub  derp.Key
	node *meshNode // nil: it is not connected

	peer         *fakepoll.Peer
	epoch        uint32 // connections so far
	next         uint32 // packet
	in           []byte
	switched, up bool             // the response to the upgrade is past, ServerInfo has come
	gone         map[derp.Key]int // PeerGone of keys that had left the region
}

// join connects to a node.
func (c *meshClient) join(nd *meshNode) {
	c.node, c.in, c.switched, c.up = nd, nil, false, false
	c.epoch++
	c.peer = c.w.Dial(nd.poll, 0, netip.AddrPortFrom(
		netip.AddrFrom4([4]byte{198, 51, 100, c.n + 1}), uint16(c.epoch)))
	var nonce [derp.NonceLen]byte
	binary.LittleEndian.PutUint64(nonce[:], c.w.rng.Uint64())
	info, _, err := derp.AppendClientInfo([]byte(upgradeRequest), c.key, nd.srv.Public(),
		derp.ClientInfo{Version: derp.ProtocolVersion}, nonce)
	if err != nil {
		panic(err)
	}
	c.peer.Write(info)
}

// leave ends the connection, if there is one.
func (c *meshClient) leave() {
	if c.node == nil {
		return
	}
	if c.w.rng.IntN(2) == 0 {
		c.peer.CloseWrite()
	} else {
		c.peer.Reset()
	}
	c.node = nil
}

// send sends a packet to another key, or its own.
func (c *meshClient) send(to *meshClient, disco bool) meshPacket {
	p := meshPacket{c.n, to.n, c.epoch, c.next}
	c.next++
	b := make([]byte, 62+c.w.rng.IntN(1300))
	if disco {
		copy(b, "TS💬")
	}
	b[6], b[7] = p.from, p.to
	binary.BigEndian.PutUint32(b[8:], p.epoch)
	binary.BigEndian.PutUint32(b[12:], p.n)
	c.w.sent[p] = false
	c.peer.Write(derp.AppendSendPacket(nil, to.pub, b))
	return p
}

// read takes what has come.
func (c *meshClient) read() {
	if c.node == nil {
		return
	}
	if c.peer.Closed() {
		c.node = nil
		return
	}
	c.in = append(c.in, c.peer.Read(1<<20)...)
	if !c.switched {
		end := bytes.Index(c.in, []byte("\r\n\r\n"))
		if end < 0 {
			return
		}
		c.in, c.switched = c.in[end+4:], true
	}
	for {
		kind, n, ok := derp.Header(c.in)
		if !ok || len(c.in) < derp.HeaderLen+n {
			return
		}
		payload := c.in[derp.HeaderLen : derp.HeaderLen+n]
		c.in = c.in[derp.HeaderLen+n:]
		switch kind {
		case derp.FrameServerInfo:
			c.up = true
		case derp.FramePeerGone:
			if k, why, err := derp.ParsePeerGone(payload); err == nil && why == derp.GoneDisconnected {
				c.gone[k]++
			}
		case derp.FrameRecvPacket:
			c.receive(derp.Key(payload), payload[derp.KeyLen:])
		}
	}
}

// receive judges a packet: it must have been sent by who it says, to this key, and not have
// come before, nor behind one that was sent later.
func (c *meshClient) receive(from derp.Key, b []byte) {
	w := c.w
	p := meshPacket{b[6], b[7], binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])}
	arrived, sent := w.sent[p]
	switch {
	case !sent || int(p.from) >= len(w.clients) || w.clients[p.from].pub != from:
		w.fault("%+v from %x was never sent", p, from[:4])
	case p.to != c.n:
		w.fault("%+v came to %d", p, c.n)
	case arrived:
		w.fault("%+v came twice", p)
	}
	w.sent[p] = true
	way := meshWay{p.from, p.to, p.epoch, c.epoch, derp.LooksLikeDisco(b), w.kills}
	if last, before := w.order[way]; before && p.n < last {
		w.fault("%+v came behind number %d", p, last)
	}
	w.order[way] = p.n
}
