//go:build planted

package relay

// plant is set by the tests of the simulation.
var plant = plantNone
