// Package peers pins the relay that derpd is compared with: Tailscale's newest derper. It holds
// no code. It is a module of its own, because that release asks for a newer Go than derpd and
// must not choose derpd's dependencies; from this folder
//
//	GOTOOLCHAIN=go1.27.3 go build -o DIR/derper tailscale.com/cmd/derper
//
// builds the version in go.mod. The replaced module there names the newest release of setec
// that the module proxy serves; the one that derper asks for is not to be had. Only the
// benchmark and the interop tests run what is built here; nobody imports this package.
package peers
