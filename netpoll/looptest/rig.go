package looptest

import (
	"net/netip"
	"time"

	"derpd/netpoll"
)

// Rig is what a backend brings to be tested: a loop that is not running yet, far ends to
// talk to, and a clock. Its methods are called on the test's goroutine only.
type Rig interface {
	// Loop is the loop under test.
	Loop() netpoll.Loop
	// Start lets the loop run with that handler.
	Start(netpoll.Handler)
	// Dial lets a far end connect to listener 0 of the loop.
	Dial() Far
	// Serve makes an address that the loop can connect to; next returns the far end of the
	// next connection made to it, or nil as long as there is none.
	Serve() (address netip.AddrPort, next func() Far)
	// Refuse is an address that refuses connections.
	Refuse() netip.AddrPort
	// Plenty is a number of bytes that no far end takes as long as it does not read.
	Plenty() int
	// Rest lets the loop work for a moment.
	Rest()
	// Clock is the time since some start, on the loop's scale.
	Clock() time.Duration
	// Ended lets the loop work until it has ended; false if it does not.
	Ended() bool
}

// Far is the far end of a connection. No method blocks for long.
type Far interface {
	// Write sends all of b, if necessary after it has returned.
	Write(b []byte)
	// Read takes up to max bytes of what has arrived; the slice is the caller's.
	Read(max int) []byte
	// CloseWrite ends the stream towards the loop.
	CloseWrite()
	// Reset ends the connection with a RST.
	Reset()
	// Closed tells whether everything was read and the loop's side has ended the stream.
	// WasReset tells whether it was by a RST.
	Closed() bool
	WasReset() bool
}
