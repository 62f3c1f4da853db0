package relay

import (
	"testing"

	"derpd/relay/derp"
)

// TestAnswersBounded: what the relay says of its own to a connection that takes nothing, or next to
// nothing for days, stays small, whatever it is asked: no other bound holds there, and no block is
// larger than half a megabyte.
func TestAnswersBounded(t *testing.T) {
	for name, ask := range map[string]func(d *loopDouble, c *conn){
		"probes for nobody": func(d *loopDouble, c *conn) {
			probe := append([]byte("TS💬"), make([]byte, 100)...)
			d.l.Received(c.h, derp.AppendSendPacket(nil, derp.Key{5}, probe))
		},
		"pings": func(d *loopDouble, c *conn) {
			d.l.Received(c.h, derp.AppendPing(nil, [derp.PingLen]byte{1}))
		},
		"pings of another node": func(d *loopDouble, c *conn) {
			d.l.linkMessage(c, derp.FramePing, make([]byte, derp.PingLen))
		},
		"keepalives": func(d *loopDouble, c *conn) { d.l.beat(c) },
	} {
		t.Run(name, func(t *testing.T) {
			_, ds, _ := newDoubles(t, 1, Config{})
			d := ds[0]
			cl := d.login(t, 1, false)
			c := d.l.at(cl.h)
			c.early = &early{link: new(link)}
			d.slots[cl.h.Slot()].blocked = true
			for range 1000 {
				d.now += int64(2 * keepAliveEvery)
				ask(d, c)
				d.l.Flush()
			}
			if c.out == nil {
				t.Fatal("nothing was answered")
			}
			if c.ctl != nil && len(c.ctl.Buf) > answersPending*noticeBytes {
				t.Errorf("%d bytes wait", len(c.ctl.Buf))
			}
			d.unblock(cl.h)
			d.l.Flush()
			d.keep = true
			d.now += int64(2 * keepAliveEvery)
			ask(d, c)
			d.l.Flush()
			if len(d.take()) == 0 {
				t.Error("no answer to one that reads again")
			}
		})
	}
}

// TestNoticesBounded: one that takes next to nothing is not told of every departure of a year.
func TestNoticesBounded(t *testing.T) {
	_, ds, _ := newDoubles(t, 1, Config{})
	d := ds[0]
	cl := d.login(t, 1, false)
	c := d.l.at(cl.h)
	d.slots[cl.h.Slot()].blocked = true
	d.l.Received(cl.h, derp.AppendPing(nil, [derp.PingLen]byte{1}))
	d.l.Flush()
	for range noticesMax + 10 {
		var set handleSet
		set.add(cl.h)
		d.l.gone = append(d.l.gone, goneWork{key: derp.Key{7}, set: set})
		d.l.tellGone()
	}
	if n := d.counted(); c.client.q.Notices() != noticesMax || n.ReachedOverflow != 10 ||
		n.GoneDisconnected != noticesMax {
		t.Errorf("%d notices wait, %d were counted and %d as too many", c.client.q.Notices(),
			n.GoneDisconnected, n.ReachedOverflow)
	}
}

// TestHeirThatLeft: of a key that has left this node while it lives on another nobody is told, also
// if its last connection here was to inherit whom to tell.
func TestHeirThatLeft(t *testing.T) {
	_, ds, _ := newDoubles(t, 1, Config{})
	d := ds[0]
	heir, peer := d.login(t, 1, false), d.login(t, 2, false)
	linkTo(d.l, heir.key)
	cl := d.l.at(heir.h).client
	book := d.l.reachNobody()
	(*book)[0].add(peer.h)
	d.l.Closed(heir.h, nil)
	d.settle()
	d.keep = true
	d.take()
	d.l.inherit(cl, book)
	d.settle()
	if b := d.take(); len(b) > 0 {
		t.Errorf("told %x", b)
	}
	if s := d.l.remotes[heir.key]; s == nil || (*s.reached)[0].n != 1 {
		t.Error("whom to tell is forgotten")
	}
}

// TestWatcherFarBehind: a mesh peer that takes next to nothing, so that no write timeout ends it,
// does not make the list of who comes and goes grow for ever. One that has a list from the start to
// take keeps its connection, however long that is.
func TestWatcherFarBehind(t *testing.T) {
	s, ds, _ := newDoubles(t, 1, Config{})
	d := ds[0]
	watcher := d.login(t, 1, false)
	cl := d.l.at(watcher.h).client
	d.slots[watcher.h.Slot()].blocked = true
	cl.node = new(node)
	tell := func(n int) {
		cl.node.events = make([]presenceEvent, n)
		d.l.takeEvents(cl)
		d.l.Flush()
	}
	tell(presenceSlack + 2*s.keys.Counts().Conns)
	if cl.conn == nil {
		t.Fatalf("ended at the bound: %v", d.counted().Ends)
	}
	tell(2 * presenceBytesMax) // more than what is encoded ahead
	if n := d.counted(); cl.conn != nil || n.Ends[EndMeshBehind] != 1 {
		t.Errorf("%d ended as %v, connection %p", n.Ends[EndMeshBehind], EndMeshBehind, cl.conn)
	}
}
