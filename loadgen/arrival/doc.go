// Package arrival says when packets are due: a Source is the schedule of one sender, for each kind
// of loadgen.Arrival.
//
// It knows numbers only: no clock, no packet, no other sender. A Source is plain data of one cache
// line that belongs to whoever holds it, typically one event loop with a hundred thousand of them.
// It yields the same times again from the same seed.
package arrival
