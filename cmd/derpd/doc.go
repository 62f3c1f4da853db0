// Derpd is a DERP relay: it forwards encrypted WireGuard packets between devices of a
// private network that cannot reach each other directly, and answers STUN beside it. It
// takes the place of Tailscale's derper, with its flags, key file and certificates.
//
// The command knows flags, files and the order in which things start and stop. It must not
// know what a frame is. Nothing is written to disk before every address is bound and every
// file read has been found good.
package main
