package interop

import (
	"bytes"
	"net"
	"testing"
	"time"

	"derpd/interop/harness"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// A client logs in and never reads again. What is sent to it must neither slow its sender nor
// anybody else, and after the write timeout (2 s) it is cut off.
func TestFrozenReader(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		witness, sender, a, b := r.Login(t), r.Login(t), r.Login(t), r.Login(t)
		frozen := freeze(t, r, witness)

		// Far more than both kernels' buffers hold.
		start := time.Now()
		packet := bytes.Repeat([]byte{1}, derp.MaxPacketSize)
		for range 300 {
			sender.SendTo(t, frozen, packet)
		}
		sender.Ping(t)
		flooded := time.Since(start)
		sender.SendTo(t, a.Key, []byte("still here"))
		a.WantPacket(t, sender.Key, []byte("still here"))

		var worst time.Duration
		for range 200 {
			at := time.Now()
			a.SendTo(t, b.Key, []byte("ping"))
			b.WantPacket(t, a.Key, []byte("ping"))
			b.SendTo(t, a.Key, []byte("pong"))
			a.WantPacket(t, b.Key, []byte("pong"))
			worst = max(worst, time.Since(at))
		}
		t.Logf("flood of %d MB took %v; slowest round trip of others %v",
			300*len(packet)>>20, flooded, worst)
		if worst > 1500*time.Millisecond { // one that waits for the frozen one waits for its 2 s
			t.Errorf("others waited up to %v behind a frozen reader", worst)
		}

		witness.WantPeerGone(t, frozen, derp.PeerGoneReasonDisconnected)
		if cut := time.Since(start); cut < 1500*time.Millisecond || cut > 10*time.Second {
			t.Errorf("cut off after %v, want the write timeout of 2 s and a little", cut)
		}
	})
}

// freeze logs a client in with a small receive buffer, lets witness receive a packet from it,
// and stops reading. It returns the client's key.
func freeze(t *testing.T, r *harness.Relay, witness *harness.Peer) key.NodePublic {
	t.Helper()
	k := key.NewNode()
	server := witness.ServerPublicKey()
	c := r.DialTCP(t)
	if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	loginWithoutReading(t, r, c, k, server, witness.Key)
	witness.WantPacket(t, k.Public(), []byte("about to freeze"))
	return k.Public()
}
