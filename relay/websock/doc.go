// Package websock carries DERP over WebSocket (RFC 6455) without I/O: bytes in, bytes out.
//
// Ownership: the package knows the opening handshake, frames, masks and close codes. It must
// not know a socket, a loop, TLS, what a DERP frame is, or who is connected. A Reader belongs
// to one connection and is used by its loop only; every function may be called from anywhere,
// and Accept, which parses headers and hashes, costs microseconds. Nothing here locks, waits
// or reads a clock.
//
// The way of a connection: Accept judges the request and gives the whole 101 response, which
// is sent also to a client that asks for DERP's fast start, for a browser waits for it. From
// then on all received plaintext goes through Reader.Next, in a loop until it says None:
//
//	for {
//		kind, p, n, err := r.Next(b)
//		if err != nil { // send AppendClose(…, CodeOf(err), …) and end the connection
//		}
//		b = b[n:]
//		switch kind {
//		case websock.Data: // DERP bytes, unmasked where they lie
//		case websock.Ping: // send AppendPong(…, p), or nothing if a pong is waiting already
//		case websock.Close: // send AppendClose(…, code, ""), with ParseClose's code, and end
//		case websock.None: // b is used up
//		}
//	}
//
// What is sent is cut into messages of at most MessageMax bytes, each after an AppendHeader.
// One DERP frame a message suits clients best. Message boundaries mean nothing in DERP over
// WebSocket: a frame may span messages, and a message may hold many frames.
//
// Why this is not a library: the kept ones own the connection. coder/websocket needs a net.Conn
// and a goroutine; gobwas/ws, the nearest, reads a header from an io.Reader, which costs two
// interface calls a frame and cannot stop half-way through one, and its handshake wants to
// hijack. What works on bytes there is unmasking (in assembly: 69 ns for 1.4 KB, against 90 ns
// for Mask, and 32 ns against 14 ns for 60 bytes) and a table of codes; that is not worth two
// modules. What is left is a header of at most 14 bytes, in three forms.
package websock
