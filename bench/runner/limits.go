package runner

import "time"

const (
	// attemptsMax is how often a turn is tried until it is not disturbed.
	attemptsMax = 3
	// repeatShare bounds repeated turns of a run as a share of its turns, so that a machine that
	// is never quiet ends as well.
	repeatShare = 0.15
	// noiseSpanMin is the shortest span in which interference is told: it is counted in ticks of
	// 10 ms, of which three are 3 % of two processors then.
	noiseSpanMin = 500 * time.Millisecond
	// samplesMin are needed to tell user from system time: of 200, the share is off by 7 % of all
	// in one of twenty.
	samplesMin = 200
	// countStepsMax bounds the steps of one count where others keep the generator from its work.
	countStepsMax = 5
	// remarksMax bounds what one result remarks: the first ones tell, the rest repeats them.
	remarksMax = 5
	// loginsAtOnce keeps the relay busy and its accept queue short.
	loginsAtOnce = 64
	// aheadBytes are records sealed before they are due.
	aheadBytes = 256 << 20
	// sampledRecords: every n-th record is opened and compared whole.
	sampledRecords = 64
	// spareFiles are what the generator opens beside its clients.
	spareFiles = 500
	// What things take in an estimate, as measured here: starting and ending a relay, a login (the
	// slowest relay takes 0.9 ms of its processor, the generator meanwhile works on others), its end,
	// and a step beside its warm-up and window; and what a relay delivers, packets a second.
	sketchLaunch = 800 * time.Millisecond
	sketchLogin  = 900 * time.Microsecond
	sketchLeave  = 50 * time.Microsecond
	sketchStep   = 200 * time.Millisecond
	sketchRate   = 150_000
	sketchKnee   = 82_000
	// seed makes schedules and contents the same in every run.
	seed = 1
	// loginTimeout bounds one login; DERP clients give up after 10 s in all.
	loginTimeout = 10 * time.Second
)
