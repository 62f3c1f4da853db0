// Package reference is a DERP server for tests of a load generator: it delivers each packet after a
// known time, drops a known share, stalls when told to and does wrong what it is told to do wrong.
// What a generator says of it can so be held against the truth.
//
// It is a responder, not a relay: a goroutine reads each connection, and one goroutine on a thread
// of its own delivers all packets in the order in which they are due. That one never blocks: what a
// receiver's kernel does not take is left to a goroutine of the connection.
//
// The delay counts from when the kernel had the packet (SO_TIMESTAMPNS), so it does not matter how
// long the goroutine that reads waited for a processor, as long as that was less than the delay.
// It ends when the packet is given to the kernel. Stats.Late tells by how much that was missed: a
// test that calibrates by a server which was late itself proves nothing.
//
// The package knows the protocol through relay/derp, with which the generator is made too; where
// they might be wrong together, the tests of relay/derp and the interop tests judge. It must not
// know a workload. A test owns a Server; all of its methods may be called from anywhere.
package reference
