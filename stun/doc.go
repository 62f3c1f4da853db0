// Package stun answers STUN binding requests (RFC 8489) of Tailscale clients over UDP: which
// address and port does the world see me as?
//
// Ownership: Respond and Answer are pure functions that any goroutine may call, and so are
// AppendRequest and ParseReply, the client's side of the codec for load generators. A Server
// owns one UDP socket; Serve runs on one goroutine with a thread to itself, and owns the
// batch of buffers; Close, Addr and Stats may be called from anywhere. The package knows neither
// DERP nor TLS nor flags nor metric registries: whoever scrapes reads Stats. Of netpoll it uses
// the pace, by which several requests share a turn, and no loop.
//
// Answered are only requests that Tailscale's clients make: type Binding, SOFTWARE
// "tailnode", and a right FINGERPRINT as the last attribute. All else is counted and gets
// silence, so that the server is of little use for reflection: an answer over IPv4 is
// shorter than its request, one over IPv6 four bytes longer.
//
// An answer leaves from the address that was asked, also when the socket is bound to the
// unspecified address of a host with several: the kernel tells the address with each
// request (IP_PKTINFO, IPV6_RECVPKTINFO) and takes it back with the answer, and the routing
// policy for that source decides the interface, as it does for the relay's TCP. The
// interface is pinned only where an address means nothing without one, that is, for
// link-local addresses: on hosts whose traffic enters and leaves by different interfaces a
// pinned one would lose the answer.
//
// The codec is our own because the field's package, github.com/pion/stun/v3, links pion's
// DTLS, transport and logging (37 further packages outside the standard library) into
// whatever imports it, for a message of two attributes. The tests use it as the oracle.
package stun
