package launch

import "time"

const (
	// startWaitMax bounds the time from exec to the first connection. A Go binary on a busy machine
	// is up in well under a second.
	startWaitMax = 15 * time.Second
	// meshWaitMax bounds the time until all nodes of a region watch each other: two tries of a node.
	meshWaitMax = 15 * time.Second
	// startLook is how often it is tried.
	startLook = 20 * time.Millisecond
	// stopWaitMax is what a relay gets between SIGTERM and SIGKILL.
	stopWaitMax = 5 * time.Second
	// logLinesMax is how much of a relay's log an error quotes, logLineBytesMax cuts a line of one
	// that logs without end of line.
	logLinesMax     = 15
	logLineBytesMax = 4096
	// nodesMax follows from the addresses, 127.0.1.1 to 127.0.1.250.
	nodesMax = 250
)
