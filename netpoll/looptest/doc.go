// Package looptest holds a netpoll backend to the contract of netpoll.Handler and
// netpoll.Loop. Its Checker stands between a loop and a handler and reports every call and
// completion that the contract does not allow; its TestContract plays the same scenes on any
// backend, over real sockets or without a kernel.
//
// It knows package netpoll and no backend. A Checker belongs to the loop it watches, as the
// handler does; the scenes run on the test's goroutine and reach the loop by Post only.
// Only tests import it.
package looptest
