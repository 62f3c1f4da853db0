package interop

import (
	"testing"

	"derpd/interop/harness"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// atLeast is a condition for WaitMetric.
func atLeast(want float64) func(float64) bool {
	return func(v float64) bool { return v >= want }
}

func TestConnectionGauges(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{})
	for _, name := range []string{
		"derp_current_connections", "derp_current_home_connections", "derp_clients_local",
		"derp_clients_total", "derp_current_dup_client_keys", "derp_accepts",
	} {
		r.WaitMetric(t, name, harness.Is(0))
	}
	a, b := r.Login(t), r.Login(t)
	dup := r.LoginAs(t, b.Private)
	r.WaitMetric(t, "derp_current_connections", harness.Is(3))
	r.WaitMetric(t, "derp_clients_local", harness.Is(2))
	r.WaitMetric(t, "derp_clients_total", harness.Is(2))
	r.WaitMetric(t, "derp_current_dup_client_keys", harness.Is(1))
	r.WaitMetric(t, "derp_current_dup_client_conns", harness.Is(2))
	r.WaitMetric(t, "derp_total_dup_client_conns", atLeast(1))
	r.WaitMetric(t, "derp_accepts", harness.Is(3))

	for _, preferred := range []bool{true, true, false, true} {
		if err := a.NotePreferred(preferred); err != nil {
			t.Fatal(err)
		}
	}
	a.Ping(t)
	r.WaitMetric(t, "derp_current_home_connections", harness.Is(1))

	a.Close()
	dup.Close()
	r.WaitMetric(t, "derp_current_connections", harness.Is(1))
	r.WaitMetric(t, "derp_current_home_connections", harness.Is(0))
	r.WaitMetric(t, "derp_clients_local", harness.Is(1))
	r.WaitMetric(t, "derp_current_dup_client_keys", harness.Is(0))
}

func TestTrafficCounters(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		a, b := r.Login(t), r.Login(t)
		const packets, size = 20, 1000
		for range packets {
			a.SendTo(t, b.Key, make([]byte, size))
			b.WantPacket(t, a.Key, make([]byte, size))
		}
		a.SendTo(t, b.Key, harness.Disco(100))
		b.WantPacket(t, a.Key, harness.Disco(100))
		const bytes = packets*size + 100

		r.WaitMetric(t, "derp_packets_received", harness.Is(packets+1))
		r.WaitMetric(t, "derp_packets_sent", harness.Is(packets+1))
		r.WaitMetric(t, "derp_bytes_received", harness.Is(bytes))
		r.WaitMetric(t, "derp_bytes_sent", harness.Is(bytes))
		m := r.WaitMetric(t, "derp_packets_received_kind", harness.Is(packets+1))
		if got := m[`derp_packets_received_kind{kind="disco"}`]; got != 1 {
			t.Errorf("%v disco packets received, want 1", got)
		}

		a.Ping(t)
		a.Ping(t)
		r.WaitMetric(t, "derp_got_ping", harness.Is(2))
		r.WaitMetric(t, "derp_sent_pong", harness.Is(2))
	})
}

func TestDropAndPeerGoneCounters(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{})
	a, b := r.Login(t), r.Login(t)
	nobody := key.NewNode().Public()
	a.SendTo(t, nobody, make([]byte, 500))
	a.SendTo(t, nobody, harness.Disco(100))
	a.WantPeerGone(t, nobody, derp.PeerGoneReasonNotHere)
	r.WaitMetric(t, `derp_packets_dropped{kind="other",reason="unknown_dest"}`, harness.Is(1))
	r.WaitMetric(t, `derp_packets_dropped{kind="disco",reason="unknown_dest"}`, harness.Is(1))
	r.WaitMetric(t, `derp_bytes_dropped{kind="other",reason="unknown_dest"}`, harness.Is(500))
	r.WaitMetric(t, "derp_peer_gone_not_here_frames", harness.Is(1))

	hear(t, a, b)
	b.Close()
	a.WantPeerGone(t, b.Key, derp.PeerGoneReasonDisconnected)
	r.WaitMetric(t, "derp_peer_gone_disconnected_frames", harness.Is(1))
}

// What a destination that does not read loses is counted, with the reason.
func TestDropsAtAFullQueueAreCounted(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{})
	witness, sender := r.Login(t), r.Login(t)
	frozen := freeze(t, r, witness)
	const packets = 300
	for range packets {
		sender.SendTo(t, frozen, make([]byte, derp.MaxPacketSize))
	}
	witness.WantPeerGone(t, frozen, derp.PeerGoneReasonDisconnected)
	m := r.WaitMetric(t, "derp_packets_dropped", atLeast(1))
	sent, dropped := m.Sum("derp_packets_sent"), m.Sum("derp_packets_dropped")
	t.Logf("of %d packets to a frozen reader %v were written, %v dropped", packets, sent-1, dropped)
	if queue := m.Sum("derp_packets_dropped"); queue < packets/4 {
		t.Errorf("%v drops counted, want most of %d", queue, packets)
	}
}
