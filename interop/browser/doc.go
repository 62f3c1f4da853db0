// Package browser lets a page in Chromium speak DERP over WebSocket to a relay, and to
// Tailscale's own client behind it.
//
// It owns one Chromium process and the page it shows. It knows Chromium's flags, its DevTools
// protocol and npm; like the rest of this module it knows nothing of derpd's source. The page
// (page/derp.js) is what a browser client has to do, in a hundred lines; its NaCl comes from
// npm, at the version and digest of package-lock.json, into the module's git-ignored .bin.
//
// A Browser belongs to the test that starts it and ends with it, by process id. A Page is used
// by one goroutine at a time.
//
// It needs Chromium and npm, and 10 s, so it runs only when asked for:
//
//	BROWSER=1 go test -count=1 ./browser                      # derpd
//	BROWSER=1 INTEROP_PEER=derper go test -count=1 ./browser  # the test itself
//
// Run as root on Debian it installs the two programs when they are missing.
package browser
