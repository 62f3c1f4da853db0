package fleet

import "time"

// Reserve is how many descriptors a worker keeps for other things than clients: its loops (three
// each), the runtime's own poller, its three standard streams, and sockets of clients that are
// closed and opened again within a turn, as in a churn. 64 loops and a burst of 64 fit.
const Reserve = 256

const (
	// partsMax bounds a fleet. A worker takes some 20 MB before it has a client, and a file limit
	// so low that more are needed is a mistake: even 1024 descriptors give 49,000 clients so.
	partsMax = 64
	// lineBytesMax bounds a message. A result has some histograms of up to 30 KB each and a
	// sample of 150 bytes for each interval: a day of seconds stays below.
	lineBytesMax = 32 << 20
	// tailLinesMax and tailLineBytesMax bound what is kept of a worker's standard error: a panic's
	// message and three functions fit, in a paragraph that a person still reads.
	tailLinesMax     = 8
	tailLineBytesMax = 300
	// garbageBytesMax is what is quoted of a line that is no message.
	garbageBytesMax = 80
	// progressEvery is how often a worker tells where it is: a view redraws no faster.
	progressEvery = 200 * time.Millisecond
	// startAhead is how long before its start a step is sent out: enough for a message to reach
	// workers whose processors are all taken by loops that poll.
	startAhead = 250 * time.Millisecond
	// deathMax is how long a worker may take to die that does not take a request: most often it is
	// dead already, and how is worth more to know than that its pipe is broken.
	deathMax = 2 * time.Second
)

// waits are how long the parent has patience.
type waits struct {
	// silence ends a worker that says nothing while it works, though it should every
	// progressEvery. Processors taken by others delay a process for seconds, never for so long.
	silence time.Duration
	// cancel is for the partial result after the context has ended.
	cancel time.Duration
	// close is for an orderly end: 20,000 connections are closed within a second.
	close time.Duration
}

var usualWaits = waits{silence: 30 * time.Second, cancel: 15 * time.Second, close: 10 * time.Second}
