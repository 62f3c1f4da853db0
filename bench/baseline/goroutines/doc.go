// Command goroutines is a DERP relay as a Go programmer writes it first, to measure derpd against:
// net/http up to the upgrade, then two goroutines a client, one that reads and one that writes.
//
// A reader allocates each packet and puts it on the channel of its destination, 32 deep; where that
// is full the packet is dropped, so that nobody waits for a slow destination. A writer takes all
// that is queued before it flushes, so that packets which wait together share a TLS record and a
// write. A client belongs to its two goroutines; the map of clients is behind a lock.
//
// This is also, in outline, how derper works, without the rest of what derper does.
package main
