// Package queue holds what waits to be sent to one connection, in two stages.
//
// Stage one, Inbox, is lock-free: any loop pushes to it, bytes are reserved before the
// push, and what does not fit is refused (the new frame is the one that is dropped). Stage
// two, Queue, is private to the loop that owns the connection: data and disco apart, first
// in first out, bounded by bytes, frames and age. What is too old is dropped, and what does not
// fit, the oldest of the sender who has most in it. So nobody but the owner ever pops, and what
// is dropped is decided with all in view.
//
// The room knows frames as bytes with a kind, a time and a sender's number. It must not know
// connections, keys or TLS, and it counts nothing: it returns what it dropped to the caller, who
// does.
package queue
