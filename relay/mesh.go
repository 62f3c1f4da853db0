package relay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"derpd/netpoll"
	"derpd/relay/derp"
	"derpd/relay/upgrade"
)

// Mesh makes this node one of a region of several. Each node dials every other one as a
// client with its own server key and the region's mesh key, watches who is connected there,
// and forwards packets for those keys over that connection.
type Mesh struct {
	Key   derp.MeshKey // logins that present it are mesh peers
	Peers []MeshPeer   // whom to dial
	// NewHandshake begins a TLS client handshake with the server of that name. nil dials
	// plain TCP.
	NewHandshake func(name string) (Handshaker, error)

	// Go and After replace the go statement and time.AfterFunc. For simulations.
	Go    func(fn func())
	After func(d time.Duration, fn func())
}

// MeshPeer is another node.
type MeshPeer struct {
	Name string // of the server, for TLS and the Host header
	// Resolve returns where to dial. It may block: it runs on a goroutine of its own.
	Resolve func(context.Context) ([]netip.AddrPort, error)
}

// link is our connection to another node. All fields but those set at the start belong to
// its loop.
type link struct {
	srv  *Server
	peer MeshPeer
	loop *loop

	cl      *client // what packets for the node's keys are queued on; new for each connection
	tries   int
	up      bool   // logged in there
	heard   bool   // the other node has sent something since the last look
	trouble string // the error told last; the same one is not told again
	// failedWith is why the connection that is ending ends, if it is the other node's fault.
	failedWith string
}

// StartMesh begins to dial the mesh peers. The loops must be running.
func (s *Server) StartMesh() {
	for i, p := range s.cfg.Mesh.Peers {
		lk := &link{srv: s, peer: p, loop: s.loops[i%len(s.loops)]}
		lk.loop.poll.Post(lk.dial)
	}
}

// dial looks the peer up, away from the loop, and connects.
func (lk *link) dial() {
	lk.srv.cfg.Mesh.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), meshDialTimeout)
		defer cancel()
		addrs, err := lk.peer.Resolve(ctx)
		if err == nil && len(addrs) == 0 {
			err = fmt.Errorf("no address for %s", lk.peer.Name)
		}
		lk.loop.poll.Post(func() { lk.loop.connectLink(lk, addrs, err) })
	})
}

func (l *loop) connectLink(lk *link, addrs []netip.AddrPort, err error) {
	if l.stopping {
		return
	}
	var h netpoll.Handle
	if err == nil {
		to := addrs[lk.tries%len(addrs)]
		lk.tries++
		if h, err = l.poll.Connect(netip.AddrPort{}, to); err == nil {
			c := l.open(h, to)
			c.link = lk
			c.phase = phaseConnect
			l.srv.shared.connections.Add(1)
			l.poll.SetTimeout(h, meshDialTimeout)
			l.poll.SetWriteTimeout(h, meshWriteTimeout)
			return
		}
	}
	lk.failed(err.Error())
}

// failed tells of trouble once and tries again later.
func (lk *link) failed(trouble string) {
	if lk.trouble != trouble {
		lk.srv.log.Warn("mesh peer not connected; trying on", "peer", lk.peer.Name,
			"error", trouble, "every", meshRetry)
		lk.trouble = trouble
	}
	lk.srv.cfg.Mesh.After(meshRetry, func() { lk.loop.poll.Post(lk.dial) })
}

// Connected implements netpoll.Handler.
func (l *loop) Connected(h netpoll.Handle, err error) {
	c := l.at(h)
	if c == nil {
		return
	}
	if err != nil { // Closed does not follow
		c.phase = phaseDead
		l.conns[h.Slot()] = nil
		l.n.Connections--
		l.srv.shared.connections.Add(-1)
		if c.link != nil { // nil when we gave it up ourselves: linkDown has seen to it
			c.link.failed(err.Error())
		}
		return
	}
	if l.srv.cfg.Mesh.NewHandshake == nil {
		l.linkRequest(c)
		return
	}
	c.phase = phaseHandshake
	l.beginClientHandshake(c, c.link.peer.Name)
}

// linkRequest asks the other node to switch to DERP.
func (l *loop) linkRequest(c *conn) {
	c.phase = phaseLinkHead
	l.control(c, []byte("GET "+upgrade.Path+" HTTP/1.1\r\nHost: "+c.link.peer.Name+
		"\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n"))
}

// linkBytes takes what the other node sends, from the response to the upgrade on.
func (l *loop) linkBytes(c *conn, p []byte) {
	c.link.heard = true
	if skip := min(int(c.skip), len(p)); skip > 0 {
		c.skip -= uint32(skip)
		p = p[skip:]
	}
	have := 0
	if c.in != nil {
		have = len(c.in.Buf)
	}
	c.in = l.q.Blocks.Grow(c.in, have+len(p))
	c.in.Buf = append(c.in.Buf, p...)
	b := c.in
	c.in = nil
	rest := b.Buf
	for len(rest) > 0 && c.phase != phaseDead {
		n := 0
		if c.phase == phaseLinkHead {
			n = l.linkResponse(c, rest)
		} else {
			n = l.linkFrame(c, rest)
		}
		if n == 0 {
			break
		}
		rest = rest[n:]
	}
	if len(rest) > 0 && c.phase != phaseDead {
		c.in = l.q.Blocks.Grow(nil, len(rest))
		c.in.Buf = append(c.in.Buf, rest...)
	}
	b.Free(&l.q.Blocks)
}

// linkResponse reads the response to the upgrade; 0 if it is not whole or no switch.
func (l *loop) linkResponse(c *conn, b []byte) int {
	n := upgrade.HeadLen(b)
	if n == 0 {
		if len(b) > requestBytesMax {
			l.endLink(c, "its response to the upgrade has no end")
		}
		return 0
	}
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b[:n])), nil)
	if err != nil {
		l.endLink(c, "its response to the upgrade is no HTTP: "+err.Error())
		return 0
	}
	r.Body.Close()
	if r.StatusCode != http.StatusSwitchingProtocols {
		l.endLink(c, "it refused the upgrade: "+r.Status)
		return 0
	}
	c.phase = phaseLinkKey
	return n
}

// linkFrame handles one frame of the other node; 0 if it is not whole.
func (l *loop) linkFrame(c *conn, b []byte) int {
	t, n, ok := derp.Header(b)
	if !ok {
		return 0
	}
	whole := derp.HeaderLen + n
	if err := derp.CheckLen(t, n, derp.FromServer); err != nil {
		l.endLink(c, err.Error())
		return 0
	}
	switch t {
	case derp.FrameServerKey, derp.FrameServerInfo, derp.FramePeerPresent, derp.FramePeerGone,
		derp.FramePing:
	default: // keepalives, and what a server has no business to send to a watcher
		if c.phase == phaseLinkKey {
			l.endLink(c, "it did not begin with ServerKey")
			return 0
		}
		have := min(whole, len(b))
		c.skip = uint32(whole - have)
		return have
	}
	if whole > linkFrameMax {
		l.endLink(c, fmt.Sprintf("its %v frame has %d bytes, more than %d", t, n, linkFrameMax))
		return 0
	}
	if whole > len(b) {
		return 0
	}
	l.linkMessage(c, t, b[derp.HeaderLen:whole])
	return whole
}

func (l *loop) linkMessage(c *conn, t derp.FrameType, payload []byte) {
	lk := c.link
	switch {
	case c.phase == phaseLinkKey:
		if key, err := derp.ParseServerKey(payload); err != nil || t != derp.FrameServerKey {
			l.endLink(c, "it did not begin with ServerKey")
		} else {
			l.linkLogin(c, key)
		}
	case t == derp.FrameServerInfo && !lk.up:
		lk.up, lk.trouble = true, ""
		l.poll.SetTimeout(c.h, meshSilence)
		l.srv.log.Info("mesh peer connected", "peer", lk.peer.Name)
	case t == derp.FramePeerPresent && lk.cl != nil:
		if p, err := derp.ParsePeerPresent(payload); err == nil && p.Key != l.srv.public {
			l.learn(lk.cl, p.Key)
		}
	case t == derp.FramePeerGone && lk.cl != nil:
		if key, _, err := derp.ParsePeerGone(payload); err == nil {
			l.unreach(lk.cl, key)
		}
	case t == derp.FramePing && l.mayAnswer(c):
		var f [derp.HeaderLen + derp.PingLen]byte
		l.control(c, derp.AppendPong(f[:0], [derp.PingLen]byte(payload)))
	}
}

// linkLogin logs in with the server's own key, unless the other node is this one.
func (l *loop) linkLogin(c *conn, server derp.Key) {
	lk := c.link
	if server == l.srv.public {
		l.srv.log.Info("a name of the mesh is this node's own; not dialled again",
			"peer", lk.peer.Name)
		c.link = nil
		l.end(c, EndMeshSelf)
		return
	}
	c.phase = phaseLink
	cl := &client{sender: sender{key: server}, loop: l, h: c.h, conn: c,
		node: &node{reaches: map[derp.Key]struct{}{}}, link: true, since: l.poll.Now()}
	lk.cl, c.client = cl, cl
	h, s := c.h, l.srv
	if !s.submit(func() {
		var nonce [derp.NonceLen]byte
		rand.Read(nonce[:])
		info := derp.ClientInfo{MeshKey: s.cfg.Mesh.Key, Version: derp.ProtocolVersion,
			CanAckPings: true}
		login, _, err := derp.AppendClientInfo(nil, s.cfg.Key, server, info, nonce)
		l.poll.Post(func() {
			c := l.at(h)
			if c == nil || c.client != cl {
				return
			}
			if err != nil {
				l.endLink(c, "no login with key "+hex.EncodeToString(server[:])+": "+err.Error())
				return
			}
			l.control(c, derp.AppendWatchConns(login))
		})
	}) {
		l.endLink(c, "no worker is free")
	}
}

// learn gives a key to a link. The other node tells of every connection of a key, so often.
func (l *loop) learn(cl *client, k derp.Key) {
	if _, known := cl.node.reaches[k]; known {
		return
	}
	cl.node.reaches[k] = struct{}{}
	if l.srv.keys.AddLink((*[32]byte)(&k), cl) == 2 {
		l.n.MultiCreated++
	}
}

// unreach takes a key from a link, and tells when with it the key has left the region.
func (l *loop) unreach(cl *client, k derp.Key) {
	if _, here := cl.node.reaches[k]; !here {
		if r := l.srv.keys.Lookup((*[32]byte)(&k)); r != nil && r.Via() != nil {
			l.n.GoneElsewhere++
		}
		return
	}
	delete(cl.node.reaches, k)
	left, gone := l.srv.keys.RemoveLink((*[32]byte)(&k), cl)
	if left == 1 {
		l.n.MultiDeleted++
	}
	if gone {
		l.srv.regionGone(k)
	}
}

// endLink ends our connection to another node because of what it did.
func (l *loop) endLink(c *conn, trouble string) {
	c.link.failedWith = trouble
	l.end(c, EndMesh)
}

// linkDown cleans up behind a link that has ended, for whatever reason, and dials again.
func (l *loop) linkDown(c *conn, why Reason) {
	lk := c.link
	c.link = nil
	if lk.cl != nil {
		l.lost = append(l.lost, lk.cl)
		l.poll.Wake()
	}
	trouble := lk.failedWith
	if trouble == "" {
		trouble = why.String()
	}
	lk.cl, lk.up, lk.heard, lk.failedWith = nil, false, false, ""
	if !l.stopping {
		lk.failed(trouble)
	}
}

// dropLost forgets the keys that links which ended had reached, a slice a turn.
func (l *loop) dropLost() {
	budget := lostSlice
	for len(l.lost) > 0 && budget > 0 {
		cl := l.lost[0]
		for k := range cl.node.reaches {
			if budget--; budget < 0 {
				break
			}
			l.unreach(cl, k)
		}
		if len(cl.node.reaches) == 0 {
			l.lost = l.lost[1:]
		}
	}
	if len(l.lost) > 0 {
		l.poll.Wake()
	}
}
