// Package httpd answers HTTP requests beside DERP: the home page, probes, metrics and
// profiles, and the plain listener on port 80.
//
// It is an ordinary http.Handler, called on net/http's goroutines. It knows the relay as
// functions that return a Snapshot and walk the clients, and what stands beside the relay as
// functions that return counters; it must not know loops, connections or TLS keys.
package httpd
