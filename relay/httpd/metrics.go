package httpd

import (
	"os"
	"strconv"

	"derpd/relay"
	"derpd/relay/queue"
)

// metric is one number of the relay: its name in derper's /debug/vars (where "gauge_" and
// "counter_" declare a type, and none means counter), what it counts, and its value.
// Prometheus has the same names with the type taken off and the set ("derp") in front.
type metric struct {
	name  string
	help  string
	gauge bool
	value func(s *relay.Snapshot) uint64
}

// derpMetrics are derper's names, so that dashboards carry on, then our own.
var derpMetrics = []metric{
	{"memstats_sys0", "Bytes that Go had from the system when the process started.", true,
		func(*relay.Snapshot) uint64 { return sysAtStart }},
	{"current_file_descriptors", "File descriptors that the process has open.", true,
		func(*relay.Snapshot) uint64 { return openFiles() }},
	{"current_connections", "DERP connections that are logged in.", true,
		func(s *relay.Snapshot) uint64 { return uint64(s.Clients) }},
	{"current_home_connections", "Logged-in connections that call this relay their home.", true,
		func(s *relay.Snapshot) uint64 { return uint64(s.Home) }},
	{"current_notideal_connections", "Logged-in connections whose best node is another.", true,
		func(s *relay.Snapshot) uint64 { return uint64(s.Poor) }},
	{"clients_total", "Keys that can be reached through this relay.", true,
		func(s *relay.Snapshot) uint64 { return uint64(s.Keys + s.Remote) }},
	{"clients_remote", "Keys that only other nodes of the region reach.", true,
		func(s *relay.Snapshot) uint64 { return uint64(s.Remote) }},
	{"watchers", "Mesh peers that watch this relay.", true,
		func(s *relay.Snapshot) uint64 { return uint64(s.Watchers) }},
	{"packets_forwarded_out", "Packets given to mesh peers.", false,
		func(s *relay.Snapshot) uint64 { return s.ForwardedOut }},
	{"packets_forwarded_in", "Packets taken from mesh peers.", false,
		func(s *relay.Snapshot) uint64 { return s.ForwardedIn }},
	{"multiforwarder_created", "Keys that came to be reached by a second mesh peer.", false,
		func(s *relay.Snapshot) uint64 { return s.MultiCreated }},
	{"multiforwarder_deleted", "Keys that are reached by one mesh peer again.", false,
		func(s *relay.Snapshot) uint64 { return s.MultiDeleted }},
	{"packet_forwarder_delete_other_value",
		"Departures told by a mesh peer of keys that only other mesh peers reach.", false,
		func(s *relay.Snapshot) uint64 { return s.GoneElsewhere }},
	{"clients_local", "Keys that are connected to this relay.", true,
		func(s *relay.Snapshot) uint64 { return uint64(s.Keys) }},
	{"current_dup_client_keys", "Keys that have more than one connection.", true,
		func(s *relay.Snapshot) uint64 { return uint64(s.DupKeys) }},
	{"current_dup_client_conns", "Connections of keys that have more than one.", true,
		func(s *relay.Snapshot) uint64 { return uint64(s.DupConns) }},
	{"total_dup_client_conns", "Logins to a key that was already connected.", false,
		func(s *relay.Snapshot) uint64 { return s.DupConnections }},
	{"accepts", "Connections that were upgraded to DERP.", false,
		func(s *relay.Snapshot) uint64 { return s.Upgrades }},
	{"bytes_received", "Bytes of packets received from clients, without keys and headers.", false,
		func(s *relay.Snapshot) uint64 { return s.BytesReceived }},
	{"bytes_sent", "Bytes of packets sent to clients, without keys and headers.", false,
		func(s *relay.Snapshot) uint64 { return s.BytesSent }},
	{"packets_received", "Packets received from clients.", false,
		func(s *relay.Snapshot) uint64 {
			return s.PacketsReceived[queue.Data] + s.PacketsReceived[queue.Disco]
		}},
	{"packets_sent", "Packets sent to clients.", false,
		func(s *relay.Snapshot) uint64 { return s.PacketsSent }},
	{"unknown_frames", "Frames of types that this version does not know, which it discards.", false,
		func(s *relay.Snapshot) uint64 { return s.UnknownFrames }},
	{"home_moves_in", "Connections that began to call this relay their home.", false,
		func(s *relay.Snapshot) uint64 { return s.HomeIn }},
	{"home_moves_out", "Connections that ceased to call this relay their home.", false,
		func(s *relay.Snapshot) uint64 { return s.HomeOut }},
	{"got_ping", "Ping frames received.", false,
		func(s *relay.Snapshot) uint64 { return s.GotPing }},
	{"sent_pong", "Pong frames sent in answer to pings.", false,
		func(s *relay.Snapshot) uint64 { return s.SentPong }},
	{"peer_gone_disconnected_frames", "PeerGone frames sent because a key had left.", false,
		func(s *relay.Snapshot) uint64 { return s.GoneDisconnected }},
	{"peer_gone_not_here_frames", "PeerGone frames sent because a probed key was not here.", false,
		func(s *relay.Snapshot) uint64 { return s.GoneNotHere }},
	{"sclient_write_timeouts", "Connections cut because they took nothing for too long.", false,
		func(s *relay.Snapshot) uint64 { return s.WriteTimeouts }},

	{"loops", "Event loops of this relay.", true,
		func(s *relay.Snapshot) uint64 { return uint64(len(s.Loops)) }},
	{"tcp_connections", "TCP connections that are open, in any stage.", true,
		func(s *relay.Snapshot) uint64 { return uint64(s.Connections) }},
	{"tcp_accepts", "TCP connections accepted.", false,
		func(s *relay.Snapshot) uint64 { return s.Accepts }},
	{"http_connections", "Connections that the HTTP pages have.", true,
		func(s *relay.Snapshot) uint64 { return uint64(s.InHTTP) }},
	{"handshakes_in_flight", "TLS handshakes that have begun and are not done.", true,
		func(s *relay.Snapshot) uint64 { return uint64(s.InHandshake) }},
	{"handshakes", "TLS handshakes done.", false,
		func(s *relay.Snapshot) uint64 { return s.Handshakes }},
	{"handshakes_failed", "TLS handshakes that were refused.", false,
		func(s *relay.Snapshot) uint64 { return s.HandshakesFailed }},
	{"rate_limit_per_client_waited", "Pauses of reading for a client's rate.", false,
		func(s *relay.Snapshot) uint64 { return s.RateWaits }},
	{"logins", "DERP logins that succeeded.", false,
		func(s *relay.Snapshot) uint64 { return s.Logins }},
	{"keepalives", "KeepAlive frames sent.", false,
		func(s *relay.Snapshot) uint64 { return s.KeepAlives }},
	{"queued_bytes", "Memory of what waits to be sent, bounded by -queue-budget.", true,
		func(s *relay.Snapshot) uint64 { return uint64(s.QueuedBytes) }},
	{"cross_loop_packets", "Packets whose destination belongs to another loop than the sender.", false,
		func(s *relay.Snapshot) uint64 { return s.CrossLoop }},
	{"flushes", "Send buffers built.", false,
		func(s *relay.Snapshot) uint64 { return s.Flushes }},
	{"flushed_packets", "Packets in the send buffers built.", false,
		func(s *relay.Snapshot) uint64 { return s.FlushedFrames }},
	{"peer_gone_overflow", "Pairs that were not remembered for PeerGone.", false,
		func(s *relay.Snapshot) uint64 { return s.ReachedOverflow }},
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

// familyHelp is what the relay's families, and the process's own metrics, count.
var familyHelp = map[string]string{
	"derp_websocket_accepts":     "Upgrades to DERP over WebSocket.",
	"derp_packets_received_kind": "Packets received from clients, by kind.",
	"derp_packets_dropped":       "Packets not delivered, by reason and kind.",
	"derp_bytes_dropped":         "Bytes of packets not delivered, by reason and kind.",
	"derp_connections_ended":     "TCP connections that ended, by reason and by who ended them.",
	"derper_tls_request_version": "TLS handshakes done, by version.",
	"derper_tls_active_version":  "TLS connections of clients that are open, by version.",
	"derp_tcp_rtt":               "Round trips that the kernel told of connections, by length.",
	"derp_loop_turns":            "Turns that the loop has run.",
	"derp_loop_sleeps":           "Turns before which the loop found nothing to do and slept.",
	"derp_loop_wakeups":          "System calls by which others woke the loop.",
	"derp_loop_posts":            "Functions that others gave the loop to run.",
	"derp_loop_receives":         "Receive calls of the loop.",
	"derp_loop_sends":            "Send calls of the loop.",
	"derp_loop_sends_blocked":    "Sends that the kernel did not take whole at once.",
	"derp_loop_accept_errors":    "Accepts that failed for want of descriptors or memory.",
	"version":                    "The version of derpd, as a label.",
	"go_version":                 "The version of Go that derpd was built with, as a label.",
}

// families returns the metrics with labels, by their Prometheus names.
func families(s *relay.Snapshot) (all []labelled) {
	add := func(family string, v uint64, labels ...label) {
		all = append(all, labelled{family: family, labels: labels, value: v})
	}
	add("derp_websocket_accepts", s.WebSockets)
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
	for i, n := range s.TLSNow {
		all = append(all, labelled{"derper_tls_active_version", true,
			[]label{{"version", [2]string{"1.2", "1.3"}[i]}}, uint64(n)})
	}
	all = append(all, roundTripFamily(s)...)
	for i, l := range s.Loops {
		loop := label{"loop", strconv.Itoa(i)}
		add("derp_loop_turns", l.Turns, loop)
		add("derp_loop_sleeps", l.Sleeps, loop)
		add("derp_loop_wakeups", l.Wakeups, loop)
		add("derp_loop_posts", l.Posts, loop)
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
