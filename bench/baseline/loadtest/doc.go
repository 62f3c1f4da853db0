// Package loadtest is the test that every baseline passes, as a package of functions for their
// tests: the relay runs as a process of its own, started as the benchmark starts it, under the load
// generator's own engine, and the books must balance.
//
// A test binary is its own relay: TestMain calls Main, which becomes the relay in a process that
// Relay has started. Whoever calls Relay owns nothing; the test ends the process.
package loadtest
