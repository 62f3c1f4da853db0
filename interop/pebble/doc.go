// Package pebble tests certificates by ACME against Let's Encrypt's own test server, Pebble.
//
// It owns no product code. It drives the certificate room (relay/certs) and the TLS engine in
// a server of a few lines, and once derpd itself, on loopback, with Pebble and its DNS server as
// processes beside it; autocert, which derper uses, is the oracle for what is kept on disk. It is
// a module of its own, so that none of these becomes a dependency of the product.
package pebble
