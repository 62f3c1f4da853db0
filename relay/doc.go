// Package relay decides what a connection means: TLS or plain, an HTTP request or a DERP
// login, who may talk to whom, what waits, what is dropped and why.
//
// # Ownership
//
// A connection belongs to one loop from accept to close, and all its state (conn, client)
// is touched by that loop only. From elsewhere there are two ways in: push a frame on the
// client's inbox and put the client on its loop's list of arrivals, or Post a function to
// the loop. Handshakes and login boxes are computed by workers, which see bytes and give
// bytes back; they never touch a connection.
//
// The relay knows loops (netpoll.Loop) and TLS (tlsengine.Session, plain data) and makes no
// system call itself. It must not know which backend drives it: the same code runs over
// epoll, io_uring and, from a seed and in one goroutine, fakepoll.
//
// # Files, in the way of a frame
//
//	server.go     what all loops share; one Attach per loop
//	loop.go       the turn: arrivals, input, Flush
//	conn.go       a connection's state and its end; why, reason.go
//	handshake.go  the workers and the handshakes they step
//	shaking.go    which handshakes give way when all places are taken
//	ahead.go      what a worker opens that came behind a handshake
//	inbound.go    records to plaintext, plaintext to frames
//	messages.go   WebSocket messages to the stream in them
//	request.go    the HTTP head: upgrade, or hand-over to net/http (http.go, bridge.go)
//	login.go      ServerKey, ClientInfo, ServerInfo
//	frames.go     what each frame does
//	rate.go       what a client may send: reading it pauses
//	route.go      from sender to destination, on this loop or another
//	expect.go     asks the processor for memory on that way before it is read
//	forward.go    to a destination on another node, and from one
//	flush.go      one send per destination and turn
//	gone.go       PeerGone: who has heard from whom
//	presence.go   who is here, for other nodes that watch
//	mesh.go       our links to the other nodes
//	timers.go     deadlines, keepalives, idle connections
//	counters.go   what loops count; histogram.go, in buckets
//	clients.go    the connections there are, for pages
//	limits.go     fixed limits, with their reasons
//	plants.go     bugs for the simulation to find; in the product none (plant.go, plant_on.go)
package relay
