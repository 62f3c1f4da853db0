//go:build !planted

package relay

// plant is the bug that the simulation has planted: none. The constant makes every branch
// on it vanish from the product; the build tag planted makes it a variable, so that tests
// can show the simulation fails on each bug.
const plant = plantNone
