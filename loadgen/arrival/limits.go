package arrival

import "time"

const (
	// burstPacketsMax bounds a burst: a million packets at once are more than any socket takes in
	// a second, so that a larger number is a slip.
	burstPacketsMax = 1_000_000
	// phaseMin and phaseMax bound the means of On and Off: below a millisecond the event loops of
	// sender and relay do not tell a pause from waiting for each other; above a day nobody waits.
	phaseMin = time.Millisecond
	phaseMax = 24 * time.Hour
	// cyclesPerPacketMax is from how many on-off cycles between two packets on a source is as good
	// as constant (1/1000 of the variance of one cycle is left), and is made so: Advance walks
	// over each cycle.
	cyclesPerPacketMax = 1000
)
