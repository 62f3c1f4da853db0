// Package runner runs scenarios on peers and makes the results of a report of them: peers take
// turns within each round, so that what changes on the machine changes for all of them, and a
// turn that others disturbed is repeated instead of used.
//
// Ownership: a Runner belongs to the goroutine that calls Run. For each turn it starts the peer
// fresh and gives the scenario a Session, which owns the relay and the fleet of that turn and is
// over when the scenario returns. The machine stands behind the interfaces Bed and Relay: Machine
// is the real one.
//
// The room knows fleets, readings and turns. It must not know what a scenario sends, nor how
// results are shown or compared. All load is loadgen's.
package runner
