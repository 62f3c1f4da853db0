// Package bootstrap answers /bootstrap-dns: addresses of configured names, for clients whose
// own DNS does not work.
//
// Ownership: one goroutine of its own (Run) looks the names up and swaps the answers whole;
// handlers read them through an atomic pointer, on any goroutine, and never wait for DNS. The
// room knows names and addresses; it must not know connections or loops. The headers that
// browsers look at are set by the caller, as on all pages.
//
// There are two lists. The published one is the answer to every request. A name of the
// unpublished one is told only to who asks for it (?q=), and only to a share of clients that
// a DNS TXT record sets in percent; who is in the share follows from the client's address,
// and is the same on every relay, derper included.
package bootstrap
