// Package harness starts a relay as its operator would and talks to it from outside.
//
// It knows processes, sockets and Tailscale's own DERP client; it must not know anything of
// derpd's source. The relay under test is derpd, or derper when INTEROP_PEER says so: the same
// flags start both, so derper is the oracle that says whether a test is right.
//
// Tests call everything here from their own goroutine. A Relay and a Peer belong to the test
// that made them and end with it; their methods may be called from several goroutines.
package harness
