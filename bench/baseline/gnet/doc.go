// Command gnet is a DERP relay on the event loops of github.com/panjf2000/gnet/v2, to measure derpd
// against. It serves plain HTTP only, since gnet has no TLS.
//
// gnet has as many loops as there are processors to run on, and tells a connection's loop when
// bytes have come. All frames in those bytes that follow each other to the same destination become
// one write, from gnet's buffer; if the destination is on another loop they are copied to it, and
// its loop is woken if it has nothing from others yet. What a destination does not take waits in
// gnet's buffer up to a bound, then packets for it are dropped.
//
// STUN is answered too, with derpd's codec, so that what differs is the way of a datagram.
//
// A client belongs to the loop of its connection, but for its inbox, which has a lock; the map of
// clients is behind a lock too, and each client remembers its last destination.
package main
