package relay

import (
	"net/netip"
	"slices"
	"sync"

	"derpd/netpoll"
	"derpd/relay/derp"
)

// presence orders what happens to keys on this node: connections come and go under its
// mutex, and every watcher (a mesh peer that asked with WatchConns) gets the events of a key
// in that order. Held for a few map and slice operations, never across I/O.
type presence struct {
	mu       sync.Mutex
	watchers []*client
}

// presenceEvent is one PeerPresent or PeerGone still to be told.
type presenceEvent struct {
	key    derp.Key
	remote netip.AddrPort
	app    string
	flags  derp.PresentFlags
	gone   bool
}

// presentEvent announces a connection.
func presentEvent(cl *client) presenceEvent {
	return presenceEvent{key: cl.key, remote: cl.remote, app: cl.app, flags: cl.flags}
}

// presentFlags says what kind of connection a login makes.
func presentFlags(mesh, prober, poor bool) (f derp.PresentFlags) {
	for _, is := range []struct {
		yes  bool
		flag derp.PresentFlags
	}{{mesh, derp.PresentMeshPeer}, {prober, derp.PresentProber}, {poor, derp.PresentNotIdeal}} {
		if is.yes {
			f |= is.flag
		}
	}
	if f == 0 {
		f = derp.PresentRegular
	}
	return f
}

// join registers a client and tells the watchers. It returns how many connections its key
// has now.
func (l *loop) join(cl *client) (members int) {
	p := &l.srv.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	cl.route, members = l.srv.keys.Add((*[32]byte)(&cl.key), cl)
	l.tell(presentEvent(cl))
	return members
}

// part takes a client out. It returns the connection of its key that is active now, or nil.
func (l *loop) part(cl *client) (survivor *client) {
	p := &l.srv.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.watchers, cl); i >= 0 {
		p.watchers = slices.Delete(p.watchers, i, i+1)
		cl.node.events = nil
	}
	if survivor = l.srv.keys.Remove(cl.route, cl); survivor == nil {
		l.tell(presenceEvent{key: cl.key, gone: true})
	}
	return survivor
}

// tell adds an event to every watcher's list. Under presence.mu.
func (l *loop) tell(e presenceEvent) {
	for _, w := range l.srv.presence.watchers {
		w.node.events = append(w.node.events, e)
		l.announce(w)
	}
}

// watch makes cl a watcher: first everyone who is here, itself included, then the changes.
func (l *loop) watch(cl *client) {
	p := &l.srv.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Contains(p.watchers, cl) || cl.key == l.srv.public {
		return // twice, or this server itself through another name of its own
	}
	cl.node = new(node)
	l.srv.keys.Each(func(_ *[32]byte, m *client) {
		cl.node.events = append(cl.node.events, presentEvent(m))
	})
	p.watchers = append(p.watchers, cl)
	l.announce(cl)
}

// takeEvents moves a watcher's events to where fill encodes them. One that takes a little now and
// then, so that no write timeout ends it, is ended before they take all memory: being told who is
// here from the start is shorter by then.
func (l *loop) takeEvents(cl *client) {
	p := &l.srv.presence
	p.mu.Lock()
	events := cl.node.events
	cl.node.events = nil
	p.mu.Unlock()
	if cl.conn == nil || len(events) == 0 {
		return
	}
	l.n.MeshBatches.observe(MeshBatchBounds, uint64(len(events)))
	cl.node.pending = append(cl.node.pending, events...)
	if n := len(cl.node.pending); n > presenceSlack && n > presenceSlack+2*l.srv.keys.Counts().Conns {
		l.end(cl.conn, EndMeshBehind)
		return
	}
	l.touch(cl.conn)
}

// encodeEvents appends pending presence frames to the control bytes, a part at a time: the
// first list of a busy node is megabytes.
func (l *loop) encodeEvents(c *conn) {
	n := c.client.node
	frames := make([]byte, 0, presenceBytesMax)
	for len(n.pending) > 0 && len(frames) < presenceBytesMax-presenceFrameMax {
		e := &n.pending[0]
		if e.gone {
			frames = derp.AppendPeerGone(frames, e.key, derp.GoneDisconnected)
			l.n.GoneDisconnected++
		} else {
			frames = derp.AppendPeerPresent(frames, derp.PeerPresent{
				Key: e.key, Addr: e.remote, Flags: e.flags, AppName: e.app})
		}
		n.pending = n.pending[1:]
	}
	if n.rounds++; len(n.pending) == 0 {
		l.n.MeshRounds.observe(MeshRoundBounds, uint64(n.rounds))
		n.pending, n.rounds = nil, 0
	}
	l.control(c, frames)
}

// Watchers returns how many mesh peers watch this node.
func (s *Server) Watchers() int {
	s.presence.mu.Lock()
	defer s.presence.mu.Unlock()
	return len(s.presence.watchers)
}

// closePeer ends every connection of a key, on whichever loop it is.
func (l *loop) closePeer(k derp.Key) {
	for _, cl := range l.srv.keys.Members((*[32]byte)(&k)) {
		if cl.loop == l {
			if cl.conn != nil {
				l.end(cl.conn, EndClosePeer)
			}
			continue
		}
		h := cl.h
		cl.loop.poll.Post(func() { cl.loop.endHandle(h, EndClosePeer) })
	}
}

func (l *loop) endHandle(h netpoll.Handle, why Reason) {
	if c := l.at(h); c != nil {
		l.end(c, why)
	}
}
