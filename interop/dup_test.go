package interop

import (
	"bytes"
	"testing"

	"derpd/interop/harness"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// duplicates opens n connections of one key, in order, and a sender.
func duplicates(t *testing.T, r *harness.Relay, n int) (sender *harness.Peer, dups []*harness.Peer) {
	t.Helper()
	sender = r.Login(t)
	k := key.NewNode()
	for range n {
		dups = append(dups, r.LoginAs(t, k))
	}
	return sender, dups
}

// wantOnly sends a packet to the shared key and requires dups[i], and none else, to get it.
func wantOnly(t *testing.T, sender *harness.Peer, dups []*harness.Peer, i int) {
	t.Helper()
	packet := bytes.Repeat([]byte{byte(i)}, 100)
	sender.SendTo(t, dups[i].Key, packet)
	dups[i].WantPacket(t, sender.Key, packet)
	for j, d := range dups {
		if rest := d.Pending(); len(rest) > 0 {
			t.Fatalf("packet for connection %d: connection %d got %v", i, j, rest)
		}
	}
}

func TestDuplicatesNewestIsActive(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		sender, dups := duplicates(t, r, 1)
		for range 4 {
			dups = append(dups, r.LoginAs(t, dups[0].Private))
			wantOnly(t, sender, dups, len(dups)-1)
		}
	})
}

// Whoever spoke last is where the key's packets go; any frame counts as speaking.
func TestDuplicatesLastWriterIsActive(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		sender, dups := duplicates(t, r, 5)
		for _, i := range []int{0, 3, 1, 1, 4, 2, 0} {
			dups[i].Ping(t)
			wantOnly(t, sender, dups, i)
		}
		// A packet makes its sender active too, and one to itself comes back there.
		dups[3].SendTo(t, dups[3].Key, []byte("me"))
		dups[3].WantPacket(t, dups[3].Key, []byte("me"))
		wantOnly(t, sender, dups, 3)
	})
}

// When the active connection leaves, the one that spoke most recently before takes over. When
// one is left, it is an ordinary connection again.
func TestDuplicatesCollapse(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{})
	sender, dups := duplicates(t, r, 5)
	r.WaitMetric(t, "derp_current_dup_client_conns", harness.Is(5))
	r.WaitMetric(t, "derp_current_dup_client_keys", harness.Is(1))
	for _, i := range []int{0, 3, 1, 4, 2} {
		dups[i].Ping(t)
	}
	left := float64(len(dups))
	for _, i := range []int{2, 4, 1, 3} { // the reverse order of speaking
		wantOnly(t, sender, dups, i)
		dups[i].Close()
		left--
		r.WaitMetric(t, "derp_current_connections", harness.Is(left+1))
	}
	wantOnly(t, sender, dups, 0)
	r.WaitMetric(t, "derp_current_dup_client_conns", harness.Is(0))
	r.WaitMetric(t, "derp_current_dup_client_keys", harness.Is(0))
}

// A key is gone when its last connection is, not before.
func TestDuplicatesPeerGoneOnce(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{})
	witness, dups := duplicates(t, r, 3)
	for _, d := range dups {
		d.SendTo(t, witness.Key, []byte("hello"))
		witness.WantPacket(t, d.Key, []byte("hello"))
	}
	for i, d := range dups[:2] {
		d.Close()
		r.WaitMetric(t, "derp_current_connections", harness.Is(float64(3-i)))
		witness.Ping(t) // the pong is the next message, not a PeerGone
	}
	dups[2].Close()
	witness.WantPeerGone(t, dups[2].Key, derp.PeerGoneReasonDisconnected)
}
