package relay

// Side tells who ended a connection.
type Side uint8

const (
	SidePeer Side = iota
	SideUs
	SideKernel
)

func (s Side) String() string { return [...]string{"peer", "us", "kernel"}[s] }

// Reason is why a connection ended. Each has a counter and a side.
type Reason uint8

const (
	EndNone             Reason = iota
	EndPeerClosed              // FIN or close_notify
	EndPeerReset               // RST
	EndPeerAlert               // a fatal TLS alert
	EndNotTLS                  // first bytes are no TLS handshake record
	EndHandshakeFailed         // crypto/tls refused the handshake
	EndHandshakeTimeout        // the handshake took longer than 10 s
	EndHandshakeBytes          // more bytes than a handshake can need
	EndHandshakeCap            // too many handshakes at once
	EndBadRecord               // a TLS record that does not decrypt or is malformed
	EndRequestTooLarge         // HTTP head over 16 KiB
	EndRequestTimeout          // no whole HTTP request within 30 s
	EndHTTPCap                 // too many HTTP connections beside DERP
	EndHTTPDone                // the HTTP server closed it
	EndLoginTimeout            // no ClientInfo within 10 s of the upgrade
	EndLoginFrame              // the first frame is no ClientInfo of a legal length
	EndLoginBox                // ClientInfo does not open with our key, or is malformed
	EndNotAdmitted             // the admission check refused the key
	EndAdmissionBusy           // too many logins wait for that check
	EndAcceptLimit             // over Config.AcceptsPerSecond
	EndPreLoginBytes           // more bytes before login than a connection may hold
	EndPreLoginBudget          // the budget for long ClientInfo frames is spent
	EndWebSocket               // a breach of the WebSocket protocol
	EndFrameLength             // a frame of a length its type cannot have
	EndNotPermitted            // a mesh frame from a connection without the mesh key
	EndWriteTimeout            // it took nothing for the write timeout
	EndConnectionCap           // over Config.MaxConnections
	EndShutdown                // the relay is stopping
	EndClosePeer               // a mesh peer asked for it (ClosePeer)
	EndMesh                    // our link to a mesh peer: it misbehaved or fell silent
	EndMeshSelf                // our link to a mesh peer that turned out to be ourselves
	EndMeshBehind              // a mesh peer takes who comes and goes slower than it happens
	EndKernel                  // another error of the socket
	reasonCount
)

var reasons = [reasonCount]struct {
	name string
	side Side
}{
	EndNone:             {"none", SideUs},
	EndPeerClosed:       {"peer_closed", SidePeer},
	EndPeerReset:        {"peer_reset", SidePeer},
	EndPeerAlert:        {"peer_alert", SidePeer},
	EndNotTLS:           {"not_tls", SidePeer},
	EndHandshakeFailed:  {"handshake_failed", SidePeer},
	EndHandshakeTimeout: {"handshake_timeout", SidePeer},
	EndHandshakeBytes:   {"handshake_bytes", SidePeer},
	EndHandshakeCap:     {"handshake_cap", SideUs},
	EndBadRecord:        {"bad_record", SidePeer},
	EndRequestTooLarge:  {"request_too_large", SidePeer},
	EndRequestTimeout:   {"request_timeout", SidePeer},
	EndHTTPCap:          {"http_cap", SideUs},
	EndHTTPDone:         {"http_done", SideUs},
	EndLoginTimeout:     {"login_timeout", SidePeer},
	EndLoginFrame:       {"login_frame", SidePeer},
	EndLoginBox:         {"login_box", SidePeer},
	EndNotAdmitted:      {"not_admitted", SideUs},
	EndAdmissionBusy:    {"admission_busy", SideUs},
	EndAcceptLimit:      {"accept_limit", SideUs},
	EndPreLoginBytes:    {"pre_login_bytes", SidePeer},
	EndPreLoginBudget:   {"pre_login_budget", SideUs},
	EndWebSocket:        {"websocket", SidePeer},
	EndFrameLength:      {"frame_length", SidePeer},
	EndNotPermitted:     {"not_permitted", SidePeer},
	EndWriteTimeout:     {"write_timeout", SidePeer},
	EndConnectionCap:    {"connection_cap", SideUs},
	EndShutdown:         {"shutdown", SideUs},
	EndClosePeer:        {"close_peer", SidePeer},
	EndMesh:             {"mesh", SidePeer},
	EndMeshSelf:         {"mesh_self", SideUs},
	EndMeshBehind:       {"mesh_behind", SideUs},
	EndKernel:           {"kernel", SideKernel},
}

func (r Reason) String() string { return reasons[r].name }

// Side tells who ended the connection.
func (r Reason) Side() Side { return reasons[r].side }

// remedy tells an operator what to do about a refusal of ours; empty for what peers do.
func (r Reason) remedy() string {
	switch r {
	case EndHandshakeCap:
		return "raise -max-handshakes, or add cores"
	case EndAdmissionBusy:
		return "the admission check is too slow; see -verify-client-url and tailscaled"
	case EndAcceptLimit:
		return "raise -accept-connection-limit if these are your clients"
	case EndConnectionCap:
		return "raise -max-connections and the limit of open files"
	case EndHTTPCap:
		return "raise -max-http; a monitoring system may be polling too often"
	case EndMeshBehind:
		return "the mesh peer, or the way to it, is too slow; it is told anew who is here when it is back"
	case EndPreLoginBudget:
		return "raise -pre-login-budget if the clients are yours"
	}
	return ""
}

// DropReason is why a packet was not delivered; the names are derper's.
type DropReason uint8

const (
	DropUnknownDest      DropReason = iota // no connection has the key
	DropUnknownDestOnFwd                   // likewise, for a packet from a mesh peer
	DropGoneDisconnected                   // its connection ended while the packet waited
	DropQueueHead                          // the oldest of a full queue, or too old
	DropQueueTail                          // the inbox from other loops was full
	DropWriteError                         // in a send that failed
	DropDupClient                          // for a key whose connections fight (never here)
	dropReasonCount
)

func (d DropReason) String() string {
	return [...]string{"unknown_dest", "unknown_dest_on_fwd", "gone_disconnected",
		"queue_head", "queue_tail", "write_error", "dup_client"}[d]
}
