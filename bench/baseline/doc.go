// Package baseline holds no code: its folders are relays to measure derpd against, each as small as
// it can be while the same generator drives it. They take the flags that loadgen/launch gives to a
// relay, serve the same frames and count what they drop.
//
//	goroutines  what a Go programmer writes first: goroutines and channels, with or without TLS
//	gnet        the same rules on the event loops of a well-known library, without TLS, and STUN
//	floor       no rules that can be left out: what the kernel alone asks for
//	front       what the three have in common: flags, identity, the way to a login, counts
//	loadtest    their test: each under the load generator's own engine
//
// They serve SendPacket and Ping, and nothing else of what makes a relay safe to run: no mesh, no
// admission, no rate limits, no PeerGone, no WebSocket, no deadline for slow readers. So
// a figure of theirs is a bound for what the way of a packet costs, not a relay to deploy.
//
// The module is one of its own so that its dependencies (gnet and what that needs) never choose
// those of derpd. Of derpd it uses the wire format in relay/derp and the codec of stun, which are
// no part of what is measured; the load generator only in tests. Nobody imports it; bench runs what
// is built from it.
package baseline
