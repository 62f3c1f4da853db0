package httpd

import (
	"os"
	"strconv"

	"derpd/relay"
	"derpd/relay/queue"
)

// metric is one number of the relay: its name in derper's /debug/vars (where "gauge_" and
// "counter_" declare a type, and none means counter) and its value. Prometheus has the same
// names with the type taken off and the set ("derp") in front.
type metric struct {
	name  string
	gauge bool
	value func(s *relay.Snapshot) uint64
}

// derpMetrics are derper's names, so that dashboards carry on, then our own.
var derpMetrics = []metric{
	{"current_file_descriptors", true, func(*relay.Snapshot) uint64 { return openFiles() }},
	{"current_connections", true, func(s *relay.Snapshot) uint64 { return uint64(s.Clients) }},
	{"current_home_connections", true, func(s *relay.Snapshot) uint64 { return uint64(s.Home) }},
	{"current_notideal_connections", true,
		func(s *relay.Snapshot) uint64 { return uint64(s.Poor) }},
	{"clients_total", true, func(s *relay.Snapshot) uint64 { return uint64(s.Keys) }},
	{"clients_local", true, func(s *relay.Snapshot) uint64 { return uint64(s.Keys) }},
	{"current_dup_client_keys", true, func(s *relay.Snapshot) uint64 { return uint64(s.DupKeys) }},
	{"current_dup_client_conns", true,
		func(s *relay.Snapshot) uint64 { return uint64(s.DupConns) }},
	{"total_dup_client_conns", false, func(s *relay.Snapshot) uint64 { return s.DupConnections }},
	{"accepts", false, func(s *relay.Snapshot) uint64 { return s.Upgrades }},
	{"bytes_received", false, func(s *relay.Snapshot) uint64 { return s.BytesReceived }},
	{"bytes_sent", false, func(s *relay.Snapshot) uint64 { return s.BytesSent }},
	{"packets_received", false, func(s *relay.Snapshot) uint64 {
		return s.PacketsReceived[queue.Data] + s.PacketsReceived[queue.Disco]
	}},
	{"packets_sent", false, func(s *relay.Snapshot) uint64 { return s.PacketsSent }},
	{"unknown_frames", false, func(s *relay.Snapshot) uint64 { return s.UnknownFrames }},
	{"home_moves_in", false, func(s *relay.Snapshot) uint64 { return s.HomeIn }},
	{"home_moves_out", false, func(s *relay.Snapshot) uint64 { return s.HomeOut }},
	{"got_ping", false, func(s *relay.Snapshot) uint64 { return s.GotPing }},
	{"sent_pong", false, func(s *relay.Snapshot) uint64 { return s.SentPong }},
	{"peer_gone_disconnected_frames", false,
		func(s *relay.Snapshot) uint64 { return s.GoneDisconnected }},
	{"peer_gone_not_here_frames", false,
		func(s *relay.Snapshot) uint64 { return s.GoneNotHere }},
	{"sclient_write_timeouts", false, func(s *relay.Snapshot) uint64 { return s.WriteTimeouts }},

	{"loops", true, func(s *relay.Snapshot) uint64 { return uint64(len(s.Loops)) }},
	{"tcp_connections", true, func(s *relay.Snapshot) uint64 { return uint64(s.Connections) }},
	{"tcp_accepts", false, func(s *relay.Snapshot) uint64 { return s.Accepts }},
	{"http_connections", true, func(s *relay.Snapshot) uint64 { return uint64(s.InHTTP) }},
	{"handshakes_in_flight", true,
		func(s *relay.Snapshot) uint64 { return uint64(s.InHandshake) }},
	{"handshakes", false, func(s *relay.Snapshot) uint64 { return s.Handshakes }},
	{"handshakes_failed", false, func(s *relay.Snapshot) uint64 { return s.HandshakesFailed }},
	{"logins", false, func(s *relay.Snapshot) uint64 { return s.Logins }},
	{"keepalives", false, func(s *relay.Snapshot) uint64 { return s.KeepAlives }},
	{"queued_bytes", true, func(s *relay.Snapshot) uint64 { return uint64(s.QueuedBytes) }},
	{"cross_loop_packets", false, func(s *relay.Snapshot) uint64 { return s.CrossLoop }},
	{"flushes", false, func(s *relay.Snapshot) uint64 { return s.Flushes }},
	{"flushed_packets", false, func(s *relay.Snapshot) uint64 { return s.FlushedFrames }},
	{"peer_gone_overflow", false, func(s *relay.Snapshot) uint64 { return s.ReachedOverflow }},
}

// label names a value of a labelled metric.
type label struct{ name, value string }

// labelled is one member of a family with labels.
type labelled struct {
	family string
	gauge  bool
	labels []label
	value  uint64
}

var kinds = [2]string{"other", "disco"}

// families returns the metrics with labels, by their Prometheus names.
func families(s *relay.Snapshot) (all []labelled) {
	add := func(family string, v uint64, labels ...label) {
		all = append(all, labelled{family: family, labels: labels, value: v})
	}
	for k, kind := range kinds {
		add("derp_packets_received_kind", s.PacketsReceived[k], label{"kind", kind})
	}
	for why, byKind := range s.Drops {
		for k, n := range byKind {
			labels := []label{{"reason", relay.DropReason(why).String()}, {"kind", kinds[k]}}
			add("derp_packets_dropped", n.Frames, labels...)
			add("derp_bytes_dropped", n.Bytes, labels...)
		}
	}
	for why, n := range s.Ends {
		if r := relay.Reason(why); r != relay.EndNone {
			add("derp_connections_ended", n, label{"reason", r.String()},
				label{"side", r.Side().String()})
		}
	}
	for i, n := range s.TLS {
		add("derper_tls_request_version", n, label{"version", [2]string{"1.2", "1.3"}[i]})
	}
	for i, l := range s.Loops {
		loop := label{"loop", strconv.Itoa(i)}
		add("derp_loop_turns", l.Turns, loop)
		add("derp_loop_sleeps", l.Sleeps, loop)
		add("derp_loop_wakeups", l.Wakeups, loop)
		add("derp_loop_receives", l.Receives, loop)
		add("derp_loop_sends", l.Sends, loop)
		add("derp_loop_sends_blocked", l.SendBlocked, loop)
		add("derp_loop_accept_errors", l.AcceptErrors, loop)
	}
	return all
}

func openFiles() uint64 {
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	return uint64(len(names))
}
