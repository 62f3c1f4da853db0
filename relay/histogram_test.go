package relay

import (
	"bytes"
	"math"
	"testing"
	"time"

	"derpd/netpoll"
	"derpd/relay/derp"
)

// Each value is counted under the first bound that it does not exceed, and loops are added up.
func TestHistogram(t *testing.T) {
	var a, b Histogram
	for _, v := range []uint64{0, 1, 2, 11, 100} {
		a.observe(FlushBounds, v)
	}
	b.observe(FlushBounds, 101)
	a.add(&b)
	want := Histogram{Count: 6, Sum: 215}
	want.Buckets[0], want.Buckets[1], want.Buckets[2], want.Buckets[11], want.Buckets[15] =
		1, 1, 1, 1, 1
	if a != want {
		t.Errorf("%+v\nwant %+v", a, want)
	}
	for _, bounds := range [][]uint64{FlushBounds, MeshBatchBounds, MeshRoundBounds} {
		if len(bounds) > histogramBuckets {
			t.Errorf("%d bounds do not fit", len(bounds))
		}
	}
}

func TestRoundTrips(t *testing.T) {
	var a, b RoundTrips
	for _, ms := range []int{1, 10, 11, 500, 501} {
		a.observe(time.Duration(ms)*time.Millisecond, true)
	}
	b.observe(time.Hour, true)
	b.observe(0, false)
	a.add(&b)
	if want := (RoundTrips{[8]uint64{0: 2, 1: 1, 6: 1, 7: 2}, 1}); a != want {
		t.Errorf("%+v, want %+v", a, want)
	}
}

// The average of packets taken one by one is that of packets taken together, if they waited as
// long; and two loops weigh what they have sent.
func TestQueueWait(t *testing.T) {
	var one, all QueueWait
	for range 5 {
		one.observe(1, 20e6)
	}
	all.observe(5, 5*20e6)
	if want := 20 * (1 - math.Pow(0.9, 5)); math.Abs(one.Mean-want) > 1e-9 ||
		math.Abs(all.Mean-want) > 1e-9 || one.Packets != 5 || all.Packets != 5 {
		t.Errorf("%+v and %+v, want %v", one, all, want)
	}
	all.observe(1000, 1000*3e6)
	if math.Abs(all.Mean-3) > 0.05 {
		t.Errorf("after a thousand packets of 3 ms: %v", all.Mean)
	}
	a, b := QueueWait{Mean: 10, Packets: 300}, QueueWait{Mean: 50, Packets: 100}
	a.add(&b)
	a.add(&QueueWait{})
	if a.Mean != 20 || a.Packets != 400 {
		t.Errorf("%+v, want 20 ms of 400", a)
	}
}

// What a send is made of, and how long that waited, is counted when it is built.
func TestSendsAreCounted(t *testing.T) {
	_, ds, _ := newDoubles(t, 1, Config{})
	d := ds[0]
	from, to := d.login(t, 1, false), d.login(t, 2, false)
	before := d.l.n.FlushSizes
	give := func(frames int) {
		d.l.Received(from.h, bytes.Repeat(
			derp.AppendSendPacket(nil, to.key, []byte("hello")), frames))
		d.l.Flush()
	}
	give(1)
	d.slots[to.h.Slot()].blocked = true
	give(3) // taken by a send that blocks
	give(12)
	d.now += int64(10 * time.Millisecond)
	d.unblock(to.h)
	d.l.Flush()
	got := d.l.n.FlushSizes
	if n := got.Count - before.Count; n != 3 || got.Sum-before.Sum != 16 {
		t.Errorf("%d sends of %d frames, want 3 of 16", n, got.Sum-before.Sum)
	}
	for bucket, want := range map[int]uint64{1: 1, 3: 1, 11: 1} {
		if n := got.Buckets[bucket] - before.Buckets[bucket]; n != want {
			t.Errorf("%d sends up to %d frames, want %d", n, FlushBounds[bucket], want)
		}
	}
	want := 10 * (1 - math.Pow(0.9, 12))
	if w := d.l.n.QueueWait; w.Packets != 16 || math.Abs(w.Mean-want) > 1e-6 {
		t.Errorf("%+v, want %v ms of 16 packets", w, want)
	}
	// A group of control frames counts as one.
	before = got
	ping := derp.AppendPing(nil, [derp.PingLen]byte{1})
	d.l.Received(from.h, append(ping, ping...))
	d.l.Flush()
	if got := d.l.n.FlushSizes; got.Buckets[1]-before.Buckets[1] != 1 || got.Sum-before.Sum != 1 {
		t.Errorf("two pongs count as %d sends with %d groups",
			got.Count-before.Count, got.Sum-before.Sum)
	}
}

// TLS connections of clients are counted by version for as long as they are open.
func TestTLSConnectionsAreCounted(t *testing.T) { onEngines(t, testTLSConnectionsAreCounted) }

func testTLSConnectionsAreCounted(t *testing.T) {
	r := startLive(t, true, Config{})
	a, b := r.login(t, 1), r.login(t, 2)
	if got := r.Snapshot().TLSNow; got != [2]int{0, 2} {
		t.Errorf("%v connections with TLS 1.2 and 1.3, want 0 and 2", got)
	}
	a.Close()
	b.Close()
	waitFor(t, "no TLS connection to be counted", func() bool {
		return r.Snapshot().TLSNow == [2]int{}
	})
}

// A watcher's updates are counted by how many it is handed at once, and by the buffers it takes.
func TestMeshUpdatesAreCounted(t *testing.T) { onEngines(t, testMeshUpdatesAreCounted) }

func testMeshUpdatesAreCounted(t *testing.T) {
	key := derp.MeshKey(bytes.Repeat([]byte{7}, 32))
	r := startLive(t, false, Config{Mesh: Mesh{Key: key}})
	r.login(t, 1)
	r.login(t, 2)
	peer := r.loginMesh(t, 3, key)
	if _, err := peer.Write(derp.AppendWatchConns(nil)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if kind, _, err := peer.recv(); err != nil || kind != derp.FramePeerPresent {
			t.Fatalf("%v, %v", kind, err)
		}
	}
	s := r.Snapshot()
	if b := s.MeshBatches; b.Count != 1 || b.Sum != 3 || b.Buckets[3] != 1 {
		t.Errorf("batches %+v, want one of 3", b)
	}
	if m := s.MeshRounds; m.Count != 1 || m.Sum != 1 || m.Buckets[1] != 1 {
		t.Errorf("rounds %+v, want one of 1", m)
	}
}

// A first list that is longer than a buffer takes several, which are counted as one telling.
func TestMeshRounds(t *testing.T) {
	_, ds, _ := newDoubles(t, 1, Config{})
	d := ds[0]
	watcher := d.login(t, 1, false)
	cl := d.l.at(watcher.h).client
	cl.node = new(node)
	const keys = 2 * presenceBytesMax / 57
	for range keys {
		cl.node.events = append(cl.node.events, presenceEvent{key: derp.Key{9}})
	}
	d.l.takeEvents(cl)
	d.l.Flush()
	m := d.l.n.MeshRounds
	if m.Count != 1 || m.Sum < 2 || cl.node.rounds != 0 || cl.node.pending != nil {
		t.Errorf("%+v and %d rounds, %d events left", m, cl.node.rounds, len(cl.node.pending))
	}
}

// Two links to a key are counted once, whatever the other nodes say again, and a departure told
// by a node that was not used is not one.
func TestLinksAreCounted(t *testing.T) {
	s, ds, _ := newDoubles(t, 1, Config{})
	l := ds[0].l
	link := func() *client {
		return &client{loop: l, link: true, node: &node{reaches: map[derp.Key]struct{}{}}}
	}
	a, b, c, k := link(), link(), link(), derp.Key{5}
	l.unreach(a, k) // nobody reaches it
	for range 2 {
		l.learn(a, k)
		l.learn(b, k)
	}
	l.unreach(c, k)
	if l.n.MultiCreated != 1 || l.n.MultiDeleted != 0 || l.n.GoneElsewhere != 1 {
		t.Errorf("%d created, %d deleted, %d gone elsewhere", l.n.MultiCreated, l.n.MultiDeleted,
			l.n.GoneElsewhere)
	}
	l.unreach(a, k)
	l.unreach(b, k)
	if l.n.MultiDeleted != 1 || l.n.GoneElsewhere != 1 || s.keys.Counts().Remote != 0 {
		t.Errorf("%d deleted, %d gone elsewhere, %+v", l.n.MultiDeleted, l.n.GoneElsewhere,
			s.keys.Counts())
	}
}

// Handles of clients have round trips of their own on the fake loop; a keepalive samples one.
func TestKeepAliveSamplesRoundTrip(t *testing.T) {
	f := newFakeRelay(t, false, Config{})
	s := f.stream(false)
	s.login(1)
	f.pass(keepAliveEvery + keepAliveJitter + netpoll.TimerTick + time.Second)
	if n := f.loop.n.RoundTrips; n.Buckets[0] != 1 || n.Unknown != 0 {
		t.Errorf("%+v, want one round trip of a millisecond", n)
	}
}
