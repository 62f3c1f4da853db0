package relay

import (
	"testing"
	"testing/cryptotest"
	"time"

	"derpd/netpoll/fakepoll"
	"derpd/relay/derp"
)

const (
	meshSeeds   = 150
	meshActions = 200
)

// TestMeshSimulation plays regions of three relays from many seeds: see meshWorld. Whatever has
// happened, no packet arrives twice, at a wrong key, or behind a later one; and when all nodes
// are back the region heals by itself: every key reaches every other at the price of one hop,
// and who leaves is told of once, also when its node is what left.
func TestMeshSimulation(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 1)
	first, last := uint64(1), uint64(meshSeeds)
	if raceEnabled || testing.Short() {
		last /= 5
	}
	if *simSeed != 0 {
		first, last = *simSeed, *simSeed
	}
	var kills, arrived int
	for seed := first; seed <= last; seed++ {
		w := newMeshWorld(seed, fakepoll.DefaultFaults())
		w.storm()
		w.calm()
		w.faults = append(w.faults, w.Violations()...)
		for _, fault := range w.faults {
			t.Errorf("seed %d: %s", seed, fault)
		}
		if t.Failed() {
			t.Fatalf("to play it alone: go test ./relay -run TestMeshSimulation -sim.seed=%d", seed)
		}
		kills += w.kills
		for _, there := range w.sent {
			if there {
				arrived++
			}
		}
		for _, nd := range w.nodes {
			nd.srv.Close()
		}
	}
	t.Logf("%d packets arrived, %d nodes ended and returned", arrived, kills)
	if first != last && (kills < int(last) || arrived < 100*int(last)) {
		t.Errorf("only %d nodes ended and %d packets arrived: nothing is proved", kills, arrived)
	}
}

// storm has anything happen.
func (w *meshWorld) storm() {
	w.pass(time.Second)
	for range meshActions {
		c := w.clients[w.rng.IntN(len(w.clients))]
		nd := w.nodes[w.rng.IntN(len(w.nodes))]
		switch what := w.rng.IntN(100); {
		case c.node == nil:
			if !nd.ended {
				c.join(nd)
			}
		case what < 70 && c.up:
			to := w.clients[w.rng.IntN(len(w.clients))]
			for range 1 + w.rng.IntN(5) {
				c.send(to, w.rng.IntN(4) == 0)
			}
		case what < 78:
			c.leave()
		case what < 81 && !nd.ended:
			w.kill(nd)
		case what < 90 && nd.ended:
			w.boot(nd)
		}
		w.pass(time.Duration(w.rng.IntN(60)) * time.Millisecond)
	}
}

// calm ends the storm and looks at what it has left.
func (w *meshWorld) calm() {
	w.SetFaults(fakepoll.None())
	for _, nd := range w.nodes {
		if nd.ended {
			w.boot(nd)
		}
	}
	w.pass(2*meshRetry + meshDialTimeout)
	for _, c := range w.clients {
		c.leave()
		c.join(w.nodes[w.rng.IntN(len(w.nodes))])
	}
	w.pass(2 * time.Second)
	w.checkLinks()
	w.checkPackets()
	w.checkLeaving()
	w.checkMoving()
	w.checkLoss()
}

// checkLinks: every node has one link to every other, none to itself, and knows every key.
func (w *meshWorld) checkLinks() {
	for _, nd := range w.nodes {
		links, local := 0, 0
		for _, c := range nd.loop.conns {
			if c != nil && c.client != nil && c.client.link {
				links++
			}
		}
		for _, c := range w.clients {
			if c.node == nd {
				local++
			}
		}
		n := nd.srv.keys.Counts()
		if links != meshNodes-1 || nd.srv.Watchers() != meshNodes-1 {
			w.fault("node %d has %d links and %d watchers", nd.n, links, nd.srv.Watchers())
		}
		if n.Keys != local+meshNodes-1 || n.Remote != meshClients-local {
			w.fault("node %d knows %d keys here and %d elsewhere; %d clients are here", nd.n, n.Keys,
				n.Remote, local)
		}
	}
}

// checkPackets: all keys reach all, each packet with one hop or none.
func (w *meshWorld) checkPackets() {
	count := func() (out, in, sent uint64) {
		for _, nd := range w.nodes {
			out += nd.loop.n.ForwardedOut
			in += nd.loop.n.ForwardedIn
			sent += nd.loop.n.LinkSent
		}
		return out, in, sent
	}
	out, in, sent := count()
	var packets []meshPacket
	hops := uint64(0)
	for _, from := range w.clients {
		if !from.up {
			w.fault("client %d is not logged in", from.n)
			return
		}
		for _, to := range w.clients {
			for n := range 4 {
				packets = append(packets, from.send(to, n == 3))
				if from.node != to.node {
					hops++
				}
			}
		}
	}
	w.pass(time.Second)
	for _, p := range packets {
		if !w.sent[p] {
			w.fault("%+v did not arrive in a calm region", p)
		}
	}
	if o, i, s := count(); o-out != hops || i-in != hops || s-sent != hops {
		w.fault("%d packets between nodes: %d forwarded, %d sent over links, %d received", hops,
			o-out, s-sent, i-in)
	}
}

// checkLeaving: a client that leaves is told of once, to everyone who has heard from it.
func (w *meshWorld) checkLeaving() {
	left := w.clients[0]
	w.wantGone([]*meshClient{left}, left.leave)
}

// checkMoving: a client that moves to another node, connected to both for a moment, has not left;
// when it leaves there, those are told who have heard from it at the node before.
func (w *meshWorld) checkMoving() {
	c := w.clients[1]
	before := c.peer
	w.wantGone(nil, func() {
		c.join(w.nodes[(c.node.n+1)%meshNodes])
		w.pass(500 * time.Millisecond)
		before.CloseWrite()
	})
	w.wantGone([]*meshClient{c}, c.leave)
}

// checkLoss: so it is with the clients of a node that ends, and with nobody else.
func (w *meshWorld) checkLoss() {
	nd := w.nodes[w.rng.IntN(len(w.nodes))]
	var lost []*meshClient
	for _, c := range w.clients[2:] {
		if c.node == nd {
			lost = append(lost, c)
		}
	}
	w.wantGone(lost, func() { w.kill(nd) })
}

// wantGone requires that what do does is told as the departure of these clients only.
func (w *meshWorld) wantGone(who []*meshClient, do func()) {
	want := map[derp.Key]int{}
	for _, c := range who {
		want[c.pub] = 1
	}
	before := map[*meshClient]map[derp.Key]int{}
	for _, c := range w.clients {
		before[c] = map[derp.Key]int{}
		for k, n := range c.gone {
			before[c][k] = n
		}
	}
	do()
	w.pass(2 * time.Second)
	for _, c := range w.clients {
		if c.node == nil {
			continue
		}
		for _, other := range w.clients {
			if n := c.gone[other.pub] - before[c][other.pub]; n != want[other.pub] {
				w.fault("client %d was told %d times that %d has gone, want %d", c.n, n, other.n,
					want[other.pub])
			}
		}
	}
}
