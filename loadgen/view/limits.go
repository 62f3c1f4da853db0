package view

import "time"

const (
	// barsEvery is how often bars are redrawn: often enough to look alive, and half of the ten times
	// a second that are allowed.
	barsEvery = 200 * time.Millisecond
	// lineEvery is how often a line is written where no terminal is.
	lineEvery = 5 * time.Second
	// frameEvery is how often the screen of a demonstration is redrawn.
	frameEvery = 500 * time.Millisecond
	// demoFor is how long a demonstration lasts unless told otherwise.
	demoFor = 60 * time.Second
	// historySamples are those of the last minute, for sparklines.
	historySamples = int(time.Minute / frameEvery)
	// meterWindow is over which rates are taken: shorter ones flicker, and processor time is
	// counted in ticks of 10 ms.
	meterWindow = 2 * time.Second
	// columnsMin and rowsMin are what a terminal is taken to have at least.
	columnsMin = 30
	rowsMin    = 4
	// sparkColumnsMax shows each second of the last minute in a column of its own.
	sparkColumnsMax = 60
)
