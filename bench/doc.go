// Package bench measures relays side by side. It owns the relay processes it starts (nobody
// else may signal them), the generator's connections, and the reports; it knows the relay
// binary only by its flags, its sockets and /proc, never by its packages. The one thing it
// shares with the product is the wire format in relay/derp.
//
// Peers are binaries that take derper's flags. They run one at a time, in turns
// (A B A B …), on the same machine and in the same minutes, so that what the machine does
// meanwhile hits all of them alike. A peer that does not start, dies or answers wrongly
// leaves an error in its results, with the last lines it logged; the others still run.
//
// Idle, Overload and Rate are called from one goroutine, one at a time: they change the
// processor affinity and GOMAXPROCS of the calling process. Everything below them is private
// to the run: a Client belongs to one goroutine, except that a flow's pairs send and receive
// on goroutines of their own.
package bench
