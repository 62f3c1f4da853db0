// Package engine is a loadgen.Fleet in this process: simulated DERP clients on the event loops of
// netpoll, with the client side of tlsengine. There is no goroutine per client.
//
// # Ownership
//
// A client belongs to one loop from New to Close, whatever becomes of its connections; so do its
// sender (what it sends) and the receiving half of each flow that ends at it. Nothing of them is
// touched by another goroutine: an Engine's methods reach them by functions posted to the loop and
// wait for those. Workers see handshakes as bytes and give bytes back. The layout (who is who, and
// who sends to whom) does not change after New; a key is written by the worker that logs its client
// in, before any packet names it.
//
// The room knows DERP, TLS records and schedules. It must not know processes, files, flags or
// terminals, and it never reads what the relay counts: who has both sets of books balances them.
//
// # The way of a packet
//
//  1. Its schedule (loadgen/arrival) says when it is due.
//  2. It is sealed ahead of that if there is time (seal.go): a loop that has nothing to do makes
//     records, each with the stamp of a packet that will be due.
//  3. When it is due it is written (send.go); if the kernel takes no more, it and what follows wait
//     with their due times unchanged.
//  4. The receiver's loop finds the frame (inbound.go) and reads the stamp; most records are not
//     decrypted beyond the heads of their frames, and every n-th is opened and compared whole.
//  5. When the window ends, what was sealed is still sent, nothing new is, and the loops wait until
//     everything has come or nothing comes any more (step.go).
package engine
