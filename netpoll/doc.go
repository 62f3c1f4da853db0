// Package netpoll runs the sockets of the relay and of the load generator: event loops that
// accept, connect, receive, send, keep time and wake each other. It knows sockets and
// nothing else: no TLS, no DERP, no meaning of a byte.
//
// # Ownership
//
// A connection belongs to one loop from its beginning to its end, and a loop to the one
// goroutine that called Run. All of a Loop but Wake, Post, Leave and Stop may be called only
// there: from methods of the Handler and from posted functions. Nothing is locked on the way of a
// packet, and nothing of a connection is seen by two goroutines.
//
// The user sees completions (bytes came, a buffer is through, a connection has ended), never
// readiness or descriptors, so that a backend may be one that completes (io_uring) or one
// that imitates it (epoll). Connections are named by Handle, which outlives them harmlessly.
//
// Buffers change hands twice. What Received gives is the handler's until Flush returns: it
// lies in the loop's arena, which the next turn overwrites. What Send is given is the loop's
// until Send returns true or Sent gives it back.
//
// A loop wants a processor of Go's scheduler to itself (GOMAXPROCS), and the rest of the program
// at least one more: a loop keeps its own in brief sleeps, and where that was the last, other
// goroutines wait for up to 20 ms.
//
// A Listener belongs to who called Listen, until a loop is made with it in its Config.
//
// # A connection under epoll
//
// The states are those of connState, less unused; a send in flight and the reasons not to
// receive are apart from them. "tell X" means that X is called after the handler method that
// caused it has returned: in the same turn, or in the next if that was Flush. All else is
// called where it happens.
//
//	           | connecting             | open                    | closed, refused
//	-----------+------------------------+-------------------------+------------------------
//	begins by  | Connect                | accept; connecting when | end: the socket is shut
//	           |                        | writable without error  | and its timers stopped
//	watched    | writable               | readable unless held;   | no
//	           |                        | writable with a send    |
//	writable   | open: Connected(nil)   | send more; all taken:   | stale, ignored
//	           | or refused: tell       | Sent(nil)               |
//	           | Connected(errno)       |                         |
//	readable   | –                      | Received; FIN: held,    | stale, ignored
//	           |                        | Received(empty); error: |
//	           |                        | closed                  |
//	broken     | as writable            | receive what came       | stale, ignored
//	           |                        | before, then closed;    |
//	           |                        | if held, closed at once |
//	Send       | in flight until open   | at once, or in flight   | nothing, true
//	write time | not running            | once more if the peer   | not running
//	runs out   |                        | acknowledged any; or    |
//	           |                        | RST, ErrWriteTimeout    |
//	user timer | Timeout                | Timeout                 | not running
//	Close,     | refused: ErrClosed     | closed: nil             | nothing
//	Reset      |                        |                         |
//	Stop       | refused: ErrStopped    | closed: ErrStopped      | told
//	ends by    | –                      | –                       | tell Sent(cause) if one
//	           |                        |                         | is in flight, then
//	           |                        |                         | Closed or Connected;
//	           |                        |                         | the slot is free
//
// A connection is held while it is paused and after its FIN. Broken is EPOLLHUP or EPOLLERR,
// which cannot be masked: a held connection that is broken is therefore closed at once, or
// epoll would report it for ever.
//
// Close while bytes wait that were not received makes the kernel send a RST in place of a
// FIN (RFC 2525 section 2.17), and the peer may lose what it was sent last.
//
// # A connection under io_uring
//
// The states are the same, and "accepting" before them: a slot whose file in the table of direct
// descriptors an accept is to fill. What differs is that the kernel has requests of a connection
// (uconn.ops counts them), and that nothing ends before they have.
//
//	           | connecting             | open                    | closed, refused
//	-----------+------------------------+-------------------------+------------------------
//	begins by  | Connect                | accept or connect       | end: its requests are
//	           |                        | completes               | cancelled, its file is
//	           |                        |                         | closed
//	requests   | connect                | one of receive, watch   | those not completed yet
//	           |                        | (paused: for a reset;   |
//	           |                        | silent: for bytes) or   |
//	           |                        | none (FIN); send;       |
//	           |                        | questions of the write  |
//	           |                        | timer                   |
//	receive    | –                      | Received, or held while | dropped
//	completes  |                        | paused; FIN; again, or  |
//	           |                        | closed by an error      |
//	Send       | in flight until open   | copied: true; behind    | nothing, true
//	           |                        | another, or long: in    |
//	           |                        | flight                  |
//	send       | –                      | the rest again; all:    | counted in n of Sent
//	completes  |                        | Sent(nil) if not copied |
//	write time | not running            | asks what the peer has  | cancels a copied send
//	runs out   |                        | acknowledged; then once | that Close had left
//	           |                        | more, or ErrWriteTimeout|
//	ends by    | –                      | –                       | the last request: tell
//
// A Send is copied unless it is long, and Send is then true although the kernel gets the bytes
// only when the turn is over: nearly always it takes them at once. Should it not, the next Send
// is false, as with epoll. After Close a copied send goes on; Closed is told when it is through.
//
// A copied send is quiet: it completes only if the kernel has not taken all at once, and is then
// followed by one for the rest, which waits for room. So one call submits a turn's sends and waits
// for whatever is next, and nothing wakes it but what wants a turn. A send that has another behind
// it completes in any case. No first try waits for room, so that it is known by the end of the
// submission whose peer holds things up.
//
// A reset of a connection that has had its FIN is told by the next Send, not before.
//
// # Files
//
// A turn is epoll_linux.go; its parts are wake_linux.go, stream_linux.go, accept_linux.go,
// connect_linux.go and wheel.go; conn_linux.go is the table of connections, pace lets
// events gather, standing.go keeps receive buffers small under overload. With uring_ before the
// name the same files are those of io_uring; uring_bank_linux.go is a ring with its table of
// descriptors, of which a loop has as many as its connections need. The binding to the kernel is
// internal/uring.
package netpoll
