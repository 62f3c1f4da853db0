// Package ratelimit holds a client's traffic to a configured rate by telling its reader how
// long to pause, and reads the file that configures it (derper's -rate-config).
//
// Ownership: a Bucket belongs to one connection and is touched by that connection's loop
// only. A Limits is plain data; one that loops share is never written to: a reload stores
// another one behind an atomic pointer, and each bucket notices at its next Take. Load reads
// a file and blocks: never call it on a loop.
//
// The room knows bytes and nanoseconds. It must not know a clock (the loop's time comes in
// as an argument), a socket, a frame's meaning, or who is exempt: mesh peers are, which is
// the caller's business.
//
// What is charged is the length of each received frame, of any type, without its header of
// five bytes. Nothing is dropped: a reader that stops reading fills the kernel's buffers, and
// TCP holds the sender back.
package ratelimit
