//go:build !race

package relay

// raceEnabled tells whether the race detector slows everything down.
const raceEnabled = false
