// Package meter puts the relay's side beside the generator's: a Fleet around a fleet that reads,
// for each step, what the relays dropped (loadgen/scrape) and what their processes used in the
// window (loadgen/host), and so balances the books.
//
// It belongs to whoever owns the inner fleet. It knows relays by their metrics page and their
// processes, and neither clients nor packets.
package meter
