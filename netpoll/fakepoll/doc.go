// Package fakepoll is a netpoll backend without a kernel. A World owns virtual time, a seeded
// random source, every loop and every far end, and runs them all in the one goroutine that
// calls Step, Advance or RunUntil: the same seed gives the same turns, faults and bytes.
//
// It knows the contract of package netpoll and nothing of who uses it. It must not know TLS,
// DERP or any real socket, read the real clock, or start goroutines.
//
// Who may call what from where: Loop methods belong to the turn of that loop (handler methods
// and posted functions); only Wake, Post, Leave and Stop may be called from anywhere, other
// goroutines included. Everything else (World, Peer) belongs to the goroutine that steps the
// world; Peer methods may also be called from inside a turn, which stands for a far end that
// acts just then.
//
// The fake is unkind within the contract. Reads and sends are short, sends block and finish
// late, ready connections come in any order, slots are reused at once, accepts fail for want
// of descriptors, turns are cut. Received buffers are overwritten when Flush has returned; a
// buffer given away by Send is read only as it is "transmitted", piece by piece, and compared
// with what it was. What a handler does against the contract is collected in
// World.Violations.
package fakepoll
