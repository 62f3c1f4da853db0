// Package uring is a binding to the kernel's io_uring: a ring with its queues, a table of direct
// descriptors and a ring of receive buffers. It knows the kernel's structures and nothing of
// connections, loops or handlers.
//
// A Ring belongs to the thread that called Enable, and so to a goroutine locked to it
// (IORING_SETUP_SINGLE_ISSUER); before that, to whoever called Open. Completions are produced
// only inside of Enter (IORING_SETUP_DEFER_TASKRUN), never behind the owner's back.
//
// # Memory
//
// The kernel keeps the addresses that requests carry, and the garbage collector cannot see them
// there. Queues, receive buffers and whatever Map returns lie outside of Go's heap. Who puts the
// address of a heap object into an SQE keeps a reference to it elsewhere until its completion
// (Go's collector does not move objects of the heap, only stacks move), and for what the kernel
// reads while it takes the request, until Enter returns.
//
// Close unmaps: everything that was submitted must have completed before.
package uring
