package loadgen

import "net/netip"

// Target is one relay to load: one node of a region.
type Target struct {
	Addr  netip.AddrPort `json:"addr"`
	Host  string         `json:"host"`            // TLS server name and HTTP Host
	Plain bool           `json:"plain,omitempty"` // TCP without TLS
	// Varz is the URL of the relay's metrics, from which its drops are read; empty: they are not
	// known.
	Varz string `json:"varz,omitempty"`
	// PID is the relay's process if it runs on this machine; 0: not known.
	PID int `json:"pid,omitempty"`
}
