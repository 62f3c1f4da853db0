package relay

import (
	"testing"

	"derpd/netpoll"
	"derpd/relay/derp"
)

// fullSet is a set at its bound, of handles that are no connection's.
func fullSet(t *testing.T, loop int) (s handleSet) {
	t.Helper()
	for n := range reachedMax {
		if !s.add(netpoll.MakeHandle(loop, 1000+n, 7)) {
			t.Fatalf("handle %d of %d finds no room", n+1, reachedMax)
		}
	}
	return s
}

// TestHandleSetBound: a set takes reachedMax handles, those it has any number of times, and no
// other; it is then as large as its limit says.
func TestHandleSetBound(t *testing.T) {
	s := fullSet(t, 0)
	if s.n != reachedMax || len(s.slots)*8 != 1<<20 {
		t.Errorf("%d handles in %d bytes, want %d in 1 MiB", s.n, len(s.slots)*8, reachedMax)
	}
	for n := range 3 {
		if s.add(netpoll.MakeHandle(0, n, 7)) {
			t.Error("one more than the bound was taken")
		}
	}
	for n := range reachedMax {
		if !s.add(netpoll.MakeHandle(0, 1000+n, 7)) {
			t.Fatalf("handle %d is not there any more", n+1)
		}
	}
	if s.n != reachedMax || len(s.slots)*8 != 1<<20 {
		t.Errorf("grown to %d handles in %d bytes", s.n, len(s.slots)*8)
	}
}

// TestHandleSetForgetsTheDead: of those who come and go in one slot it keeps the newest, in whatever
// order they are added, also where generations begin anew.
func TestHandleSetForgetsTheDead(t *testing.T) {
	var s handleSet
	const slots = 100
	for _, generation := range []uint32{1, 3, 2, 1<<31 + 2, 1<<32 - 1, 5, 1<<32 - 2} {
		for slot := range slots {
			if !s.add(netpoll.MakeHandle(0, slot, generation)) {
				t.Fatal("no room")
			}
		}
	}
	if s.n != slots || len(s.slots) != 256 {
		t.Errorf("%d handles in %d places", s.n, len(s.slots))
	}
	for _, h := range s.slots {
		if h != 0 && h.Generation() != 5 {
			t.Errorf("connection %d of slot %d is kept", h.Generation(), h.Slot())
		}
	}
}

// TestReachedOverflow: one whom a sender reaches beyond the bound gets its packets, but is not
// told when it leaves, and that is counted; so it is when two books become one.
func TestReachedOverflow(t *testing.T) {
	_, ds, _ := newDoubles(t, 1, Config{})
	d := ds[0]
	hub, peer := d.login(t, 1, false), d.login(t, 2, false)
	cl := d.l.at(hub.h).client
	cl.reached = d.l.reachNobody()
	(*cl.reached)[0] = fullSet(t, 0)
	d.keep = true
	for range 2 {
		d.l.Received(hub.h, derp.AppendSendPacket(nil, peer.key, []byte("hello")))
		d.l.Flush()
	}
	if n := d.counted(); n.PacketsSent != 2 || n.ReachedOverflow != 1 {
		t.Errorf("%d packets were sent and %d pairs not remembered, want 2 and 1", n.PacketsSent,
			n.ReachedOverflow)
	}
	more := d.l.reachNobody()
	for n := range 5 {
		(*more)[0].add(netpoll.MakeHandle(0, n+100, 7))
	}
	d.l.merge(&cl.sender, more)
	if n := d.counted().ReachedOverflow; n != 6 {
		t.Errorf("%d pairs not remembered after a merge of five, want 6", n)
	}
	d.take()
	d.l.Received(hub.h, nil)
	d.l.Flush()
	d.l.Closed(hub.h, nil)
	d.settle()
	if b := d.take(); len(b) > 0 {
		t.Errorf("one who is not remembered was told %x", b)
	}
}
