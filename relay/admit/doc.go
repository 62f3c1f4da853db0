// Package admit decides whether a key may log in, by what the operator configured: names of
// applications that are refused, the tailscaled of this host (derper's -verify-clients), an
// admission URL (-verify-client-url). All that are configured must agree.
//
// Ownership: a Checker has goroutines of its own, bounded in number, which do all that can
// block. Submit takes a mutex for a few map operations and never waits for an answer; answers
// are given on the Checker's goroutines, never inside Submit. Still it is meant for the
// workers that open login boxes, not for loops. The room knows keys, addresses and HTTP; it
// must not know connections, loops or frames.
//
// Who is exempt is the caller's business: a connection with the mesh key is not checked, since
// no tailnet knows it. A login is checked once; a key that is revoked later keeps its
// connections.
//
// How a check goes:
//
//  1. Submit. An application name that is refused, or an answer in the cache, decides.
//  2. A check of the same key that is under way already (from the same address, if a URL is
//     configured, since it is told the address) is joined.
//  3. Otherwise it is asked for at once or, beyond MaxConcurrent, after others; beyond
//     MaxWaiting it is refused as busy. What has waited longer than Timeout is refused.
//  4. tailscaled, then the URL, are asked, each for at most Timeout.
//  5. Definite answers are cached for a few seconds; troubles are not, but a service that
//     cannot be reached several times in a row is asked by one check at a time until it
//     answers, and the others count it as unreachable at once (backend.go).
//
// Fail-open, which is derper's default for the URL, covers just this: the URL cannot be
// reached, or does not begin to answer in time. Whatever it answers but 200 and
// {"Allow":true} refuses, and so does a Checker that is too busy: a flood must not open doors.
package admit
