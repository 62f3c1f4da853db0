// Package interop tests a relay from outside, as Tailscale's programs see it.
//
// It owns no product code and imports none: a relay is a process started by package harness,
// and everything said to it goes over a socket. Each file holds one theme. A test here must
// pass against derper too (INTEROP_PEER=derper), unless it says why derpd differs; that is
// how the tests themselves are checked. Under -short only what needs no waiting runs.
package interop
