// Package queue holds what waits to be sent to one connection, in two stages.
//
// Stage one, Inbox, is lock-free: any loop pushes to it, bytes are reserved before the
// push, and what does not fit is refused (the new frame is the one that is dropped). Stage
// two, Queue, is private to the loop that owns the connection: data and disco apart, first
// in first out, bounded by bytes, frames and age, dropping the oldest. So nobody but the
// owner ever pops, and what is dropped for age or fairness is decided with all in view.
//
// The room knows frames as bytes with a kind and a time. It must not know connections,
// keys or TLS, and it counts nothing: it returns what it dropped to the caller, who does.
package queue
