// Package upgrade reads the head of an HTTP request and tells whether it asks for DERP.
//
// It decides only that. Whatever is no valid upgrade, malformed requests included, is
// net/http's business, which knows how to answer. The room is pure: bytes in, verdict out.
package upgrade
