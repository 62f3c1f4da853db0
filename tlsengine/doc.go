// Package tlsengine is TLS without I/O: bytes in, bytes out.
//
// # Ownership
//
// The room knows keys, records and alerts. It must not know sockets, loops, timers or DERP: whoever
// calls it moves the bytes and holds the clock. Three kinds of values live here:
//
//   - An [Engine] belongs to nobody. It may be used from any goroutine at any time.
//   - A [Handshake] is stepped by one goroutine at a time, and that goroutine must not be locked
//     to its thread (a coroutine dies if its caller's locking differs from its creator's). It may
//     move between goroutines from step to step. An event loop therefore never touches one; it
//     posts bytes to a handshake worker.
//   - A [Session] is plain data that belongs to the owner of the connection. No method may run
//     beside another. It is never used from two copies: two copies of a session that seals
//     would use a nonce twice, which gives the keys of AES-GCM away.
//
// # From a handshake to a session
//
// crypto/tls does the handshake and nothing else. It runs as a coroutine (iter.Pull) whose Read
// hands control back when the bytes fed so far are used up, so an unfinished handshake holds memory
// but no goroutine that the scheduler knows of, and no worker. When it is done, the traffic secrets
// have come through Config.KeyLogWriter, no byte behind the last handshake record was read, and the
// tls.Conn is dropped: it is never read, written or closed again. What follows is RFC 8446 section
// 5 (or RFC 5246 section 6 with RFC 5288 and RFC 7905) in open.go and seal.go.
//
// The behaviours of crypto/tls this leans on are listed and tested one by one in handover_test.go,
// and [SelfCheck] tries the sum of them when a program that speaks TLS starts.
//
// # A record
//
//	n, err := tlsengine.RecordLen(buf)          // 0: the header is not whole yet
//	plain, err := session.Open(buf[:n])         // in place
//
//	start := len(out)
//	out = session.SealStart(out)                // room for the header
//	out = append(out, payload...)               // 1 to MaxPlaintext bytes
//	out = session.SealFinish(out, start)        // in place
//
// After any Open or SealFinish, NeedsSend tells whether AppendControl has something to put ahead of
// the next record. Open and Seal do not allocate once a direction's cipher is built.
package tlsengine
