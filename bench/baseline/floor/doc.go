// Command floor is what the kernel alone asks for: a forwarder that moves the same packets between
// the same sockets as a relay and does nothing that can be left out. What it costs is the floor
// under what any relay can cost over plain TCP on this kernel, as long as it, too, writes when it
// has read; a relay that gathers the packets of several reads makes fewer calls and can get below.
//
// One thread waits with epoll. A readable event is one read into one large buffer that all
// connections share; where frames to one destination follow each other they are one write, from
// that same buffer, with only their headers rewritten in place. Nothing is copied but the beginning
// of a frame whose end has not come, and what a destination's socket does not take, which waits up
// to a bound; then packets for it are dropped and counted.
//
// Of DERP there is as much as the load generator needs to log in, to find destinations and to ask
// at the end who is still served (Ping). There is no TLS, no KeepAlive, and no second thread: on a
// machine with several processors compare it with a relay that has one of them. A computation for
// a login holds everybody up. When it runs out of descriptors it ends.
package main
