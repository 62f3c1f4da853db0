package interop

import (
	"testing"
	"time"

	"derpd/interop/harness"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// hear makes witness receive one packet from p.
func hear(t *testing.T, witness, p *harness.Peer) {
	t.Helper()
	p.SendTo(t, witness.Key, []byte("I am here"))
	witness.WantPacket(t, p.Key, []byte("I am here"))
}

func TestPeerGoneAfterHavingReceived(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		witness, stranger, leaver := r.Login(t), r.Login(t), r.Login(t)
		hear(t, witness, leaver)
		leaver.SendTo(t, leaver.Key, []byte("to myself"))
		leaver.WantPacket(t, leaver.Key, []byte("to myself"))
		// stranger sent to leaver but received nothing from it: it is not told.
		stranger.SendTo(t, leaver.Key, []byte("hello?"))
		leaver.WantPacket(t, stranger.Key, []byte("hello?"))
		leaver.Close()
		witness.WantPeerGone(t, leaver.Key, derp.PeerGoneReasonDisconnected)
		r.WaitMetric(t, "derp_current_connections", harness.Is(2))
		stranger.Ping(t)
	})
}

// One that spoke with many leaves: every one of them is told, once.
func TestPeerGoneReachesAll(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{})
	hub := r.Login(t)
	var witnesses []*harness.Peer
	for range 60 {
		w := r.Login(t)
		hear(t, w, hub)
		witnesses = append(witnesses, w)
	}
	hub.Close()
	for _, w := range witnesses {
		w.WantPeerGone(t, hub.Key, derp.PeerGoneReasonDisconnected)
	}
	for _, w := range witnesses {
		w.Ping(t)
	}
}

// derper stays silent at the second departure of a key; derpd reports each.
func TestPeerGoneAgain(t *testing.T) {
	t.Parallel()
	derpdOnly(t, "reports only the first departure of a key")
	r := harness.Start(t, harness.Options{})
	witness, k := r.Login(t), key.NewNode()
	for range 3 {
		leaver := r.LoginAs(t, k)
		hear(t, witness, leaver)
		leaver.Close()
		witness.WantPeerGone(t, leaver.Key, derp.PeerGoneReasonDisconnected)
	}
}

// A packet followed at once by its sender's close: the packet arrives, then PeerGone.
func TestPeerGoneFollowsTheLastPacket(t *testing.T) {
	t.Parallel()
	derpdOnly(t, "may lose the PeerGone or let it overtake the packet")
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		witness := r.Login(t)
		for range 30 {
			leaver := r.Login(t)
			leaver.SendTo(t, witness.Key, []byte("bye"))
			leaver.Close()
			witness.WantPacket(t, leaver.Key, []byte("bye"))
			witness.WantPeerGone(t, leaver.Key, derp.PeerGoneReasonDisconnected)
		}
	})
}

// Discovery to a key that is not here is answered, but at most three times at once and then
// once a second, counted over all destinations of a connection.
func TestPeerGoneNotHere(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{})
	a, other := r.Login(t), r.Login(t)

	// Not for what does not look like discovery, however long.
	nobody := key.NewNode().Public()
	a.SendTo(t, nobody, make([]byte, 1000))
	a.SendTo(t, nobody, harness.Disco(62)[:61])
	a.Ping(t)

	start := time.Now()
	answers := 0
	// tell sends discovery to n keys that are not here, waits until wait answers have come in
	// all, and counts any more. (derper's pongs may overtake its PeerGones.)
	tell := func(n, wait int) {
		t.Helper()
		nobodies := make(map[key.NodePublic]bool)
		for range n {
			k := key.NewNode().Public()
			nobodies[k] = true
			a.SendTo(t, k, harness.Disco(62))
		}
		count := func(m derp.ReceivedMessage) {
			t.Helper()
			gone, ok := m.(derp.PeerGoneMessage)
			if !ok || gone.Reason != derp.PeerGoneReasonNotHere || !nobodies[gone.Peer] {
				t.Fatalf("got %T %v, want PeerGone(not here) of one of the keys", m, m)
			}
			answers++
		}
		for answers < wait {
			count(a.Next(t))
		}
		for _, m := range a.PingPast(t) {
			count(m)
		}
		// On a slow machine the limiter refills while we look.
		if most := 3 + int(time.Since(start)/time.Second); answers > most {
			t.Fatalf("%d answers after %v, want at most %d", answers, time.Since(start), most)
		}
	}
	tell(20, 3)
	charged := time.Now()

	// Another connection has a limiter of its own.
	other.SendTo(t, nobody, harness.Disco(62))
	other.WantPeerGone(t, nobody, derp.PeerGoneReasonNotHere)

	// The rate is a property of time: wait for one refill, from when all were charged.
	time.Sleep(time.Until(charged.Add(1100 * time.Millisecond)))
	tell(5, answers+1)
}
