// Package scrape reads what a relay counts about itself, above all the packets that it dropped,
// from the Prometheus page that derpd and derper serve at /debug/varz.
//
// Nothing here has state: each call makes one connection, to the target's own address and nowhere
// else, and closes it. The relay's certificate is not checked, for a relay under test signs its
// own. Relays show the page to loopback and to their own network only.
//
// The package knows the names of the metrics. It must not know who sent the packets, nor judge the
// numbers: that is for the books of a run.
package scrape
