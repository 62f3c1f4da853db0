package relay

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"derpd/netpoll"
	"derpd/tlsengine"
)

// endless is a handshake that always wants more from its peer.
type endless struct{ stopped *int }

func (endless) Step([]byte) ([]byte, bool, error) { return []byte("flight"), false, nil }
func (endless) Finish(*tlsengine.Session) ([]byte, tls.ConnectionState, error) {
	panic("it never ends")
}
func (e endless) Stop() { *e.stopped++ }

// TestStalledHandshakesGiveWay: where all places are taken, the handshake whose peer has been silent
// for longest gives its place to the next, once it has had its time; one that waits for a worker of
// ours keeps it.
func TestStalledHandshakesGiveWay(t *testing.T) {
	stopped := 0
	_, ds, work := newDoubles(t, 1, Config{MaxHandshakes: 3,
		NewHandshake: func(_, _ net.Addr) Handshaker { return endless{&stopped} }})
	d := ds[0]
	compute := func() {
		for _, fn := range *work {
			fn()
		}
		*work = nil
		d.settle()
	}
	begin := func() netpoll.Handle {
		h := d.accept()
		d.l.Received(h, simRecord(nil, 22, make([]byte, 40)))
		d.l.Flush()
		return h
	}
	phases := func(when string, of map[netpoll.Handle]phase) {
		t.Helper()
		for h, want := range of {
			if got := d.l.at(h).phase; got != want {
				t.Errorf("%s: connection %d is in phase %d, want %d", when, h.Slot(), got, want)
			}
		}
	}
	first, second := begin(), begin()
	compute()
	third := begin() // its hello waits for a worker
	early := begin()
	phases("at once", map[netpoll.Handle]phase{first: phaseHandshake, second: phaseHandshake,
		third: phaseHandshake, early: phaseDead})
	d.now += int64(stalledAfter + time.Millisecond)
	later := begin()
	phases("a second later", map[netpoll.Handle]phase{first: phaseDead, second: phaseHandshake,
		third: phaseHandshake, later: phaseHandshake})
	if n := d.l.srv.shared.handshakes.Load(); n != 3 {
		t.Errorf("%d places are taken, want 3", n)
	}
	begin()
	last := begin() // third waits for us, later has not had its time
	phases("and two more", map[netpoll.Handle]phase{second: phaseDead, third: phaseHandshake,
		later: phaseHandshake, last: phaseDead})
	compute()
	for _, h := range []netpoll.Handle{third, later} {
		d.l.end(d.l.at(h), EndPeerClosed)
	}
	compute()
	if stopped != 4 {
		t.Errorf("%d handshakes were stopped, want 4", stopped)
	}
	if n := d.l.srv.shared.handshakes.Load(); n != 1 || d.l.shaking.first == nil ||
		d.l.shaking.first != d.l.shaking.last {
		t.Errorf("%d places are taken in the end, want 1, on the list too", n)
	}
}

// hooked does something while a worker takes a step.
type hooked struct {
	endless
	meanwhile func()
	stopped   chan bool
}

func (h hooked) Step(b []byte) ([]byte, bool, error) {
	h.meanwhile()
	return h.endless.Step(b)
}

func (h hooked) Stop() { h.stopped <- true }

// TestNoRoomForWork: where no more work is taken a connection ends with that as the reason, and its
// place is free: a new one, one whose bytes come during a step, and one that ends during it.
func TestNoRoomForWork(t *testing.T) {
	for _, tc := range []struct {
		name      string
		meanwhile func(d *loopDouble, h netpoll.Handle)
		reason    Reason
	}{
		{"bytes", func(d *loopDouble, h netpoll.Handle) { d.l.Received(h, []byte("more")) },
			EndHandshakeCap},
		{"the end", func(d *loopDouble, h netpoll.Handle) { d.l.end(d.l.at(h), EndPeerClosed) },
			EndPeerClosed},
	} {
		stopped := make(chan bool, 2)
		var during func()
		s, ds, work := newDoubles(t, 1, Config{MaxHandshakes: 3,
			NewHandshake: func(_, _ net.Addr) Handshaker {
				return hooked{meanwhile: func() { during() }, stopped: stopped}
			}})
		d := ds[0]
		begin := func() netpoll.Handle {
			h := d.accept()
			d.l.Received(h, simRecord(nil, 22, make([]byte, 40)))
			d.l.Flush()
			return h
		}
		h := begin()
		s.cfg.Submit, s.work = nil, make(chan func()) // which nobody takes from
		during = func() { tc.meanwhile(d, h) }
		(*work)[0]()
		s.wakes.Settle(0)
		d.settle()
		select {
		case <-stopped: // by a goroutine of its own
		case <-time.After(10 * time.Second):
			t.Errorf("%s: nobody stops the handshake", tc.name)
		}
		late := begin()
		if d.l.at(h).phase != phaseDead || d.l.at(late).phase != phaseDead ||
			d.l.n.Ends[tc.reason] == 0 || d.l.n.Ends[EndHandshakeCap] == 0 {
			t.Errorf("%s: phases %d and %d, ended %v", tc.name, d.l.at(h).phase, d.l.at(late).phase,
				d.l.n.Ends)
		}
		if n := s.shared.handshakes.Load(); n != 0 || len(stopped) != 0 {
			t.Errorf("%s: %d places are taken, %d more handshakes were stopped", tc.name, n, len(stopped))
		}
	}
}

// TestFeed: what ends a handshake that is fed tells whose fault it is.
func TestFeed(t *testing.T) {
	s, _, _ := newDoubles(t, 1, Config{})
	hs := &handshake{srv: s}
	if full, why := hs.feed(make([]byte, preLoginReceive+1)); !full || why != EndNone {
		t.Errorf("full %v, %v", full, why)
	}
	if _, why := hs.feed(make([]byte, handshakeBytesMax)); why != EndHandshakeBytes {
		t.Errorf("too many bytes: %v", why)
	}
	s.cfg.Submit, s.work = nil, make(chan func()) // which nobody takes from
	if _, why := (&handshake{srv: s}).feed([]byte("x")); why != EndHandshakeCap {
		t.Errorf("no room for work: %v", why)
	}
}
