// Package tailnet lets two real Tailscale nodes talk through a relay and nothing else.
//
// It owns three network namespaces: one for the relay and the control server, one for each
// node, with no route between the nodes. It knows tailscaled, iperf3 and /proc; like the rest
// of this module it knows nothing of derpd's source. Root is needed, so the test runs only
// with TAILNET=1 (`make tailnet`).
//
// A World belongs to one test at a time and is closed by it, or by the test binary when it is
// interrupted; Close may be called from both. What a killed run leaves behind is removed by
// the next.
package tailnet
