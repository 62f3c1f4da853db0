package bench

import "time"

const (
	// startWaitMax bounds the time from exec to the first login. A Go binary on a busy
	// machine is up in well under a second.
	startWaitMax = 15 * time.Second
	// stopWaitMax is what a relay gets between SIGTERM and SIGKILL.
	stopWaitMax = 3 * time.Second
	// loginWaitMax bounds one login; DERP clients give up after 10 s in all.
	loginWaitMax = 10 * time.Second
	// logLinesMax is how much of a relay's log an error quotes.
	logLinesMax = 15
	// logLineBytesMax cuts a line of a relay that logs without end of line.
	logLineBytesMax = 4096
	// sourceClientsMax is how many connections share one source address. Above some
	// 14,000 the kernel's search for a free port takes milliseconds.
	sourceClientsMax = 5000
	// loginsAtOnce keeps both cores busy and the relay's accept queue short.
	loginsAtOnce = 64
	// recordBytes is a receiver's buffer: four TLS records of the largest size.
	recordBytes = 64 << 10
	// warmShare is the part of a window that is sent before it, for queues, TCP windows and
	// the relay's heap to reach their steady state: a second of the usual five.
	warmShare = 5
	// drainWaitMax bounds the wait for frames still under way after a step, which ends
	// when none came for quietSpan.
	drainWaitMax = 3 * time.Second
	quietSpan    = 50 * time.Millisecond
	// turnWritesMax keeps one sender that is behind its schedule from holding up the rest.
	turnWritesMax = 4
	// floodWritesMax is a sender's turn at full speed: long enough that receivers find
	// several frames at once, short enough that their sockets do not fill meanwhile.
	floodWritesMax = 16
	// wireBytes is what a receiver takes from its socket at once.
	wireBytes = 256 << 10
	// settleSpan is the window in which a settled relay's memory moves less than
	// settlePercent; settleFactorMax times the asked settle time ends the wait anyway.
	settleSpan      = 10 * time.Second
	settlePercent   = 1
	settleFactorMax = 4
	// latencySamplesMax bounds one receiver's samples in one round (32 MiB).
	latencySamplesMax = 4 << 20
)
