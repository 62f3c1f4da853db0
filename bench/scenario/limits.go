package scenario

import "time"

const (
	// warm is sent before each window, for TCP windows, queues and heaps to reach their steady
	// state: goroutine stacks and receive buffers of a Go relay grow within the first 100 ms.
	warm = 300 * time.Millisecond
	// standingWarm is sent before the window of receivers that take little: the relay's queue for one
	// grows until what stands there is a second old.
	standingWarm = 2 * time.Second
	// drain bounds the wait for what is under way when a window ends; queues hold up to a second.
	drain = 3 * time.Second
	// rung is the window of one step of a search for the knee: 10,000 packets at its lowest rate.
	rung = 500 * time.Millisecond
	// rungDrop ends a ladder: a rung that delivers less than this share of the best so far is past
	// the knee.
	rungDrop = 0.7
	// rungReached ends it too: neither the senders nor TCP let more through.
	rungReached = 0.7
	// rungStep is the ratio of two rungs; refineSteps take its root above the best one, to 41 %,
	// 19 % and 9 %, which half a second on a shared machine just tells apart.
	rungStep    = 2
	refineSteps = 3
	// ladderFirst and ladderLast are its rates, packets a second. derper's knee is at 80,000 and
	// what the generator can offer ends below a million.
	ladderFirst = 20_000
	ladderLast  = 1_000_000
	// throttledShare is the part of a processor that relays have under overload, so that ten times
	// what they take can be offered.
	throttledShare = 0.1
	// patience is how long a sender under overload keeps what TCP holds back: WireGuard's peers would
	// have sent a packet anew after that, and Tailscale's client keeps only some tens of them.
	patience = 100 * time.Millisecond
	// bulkPairs, bulkBytes: as derper and others have been measured.
	bulkPairs = 10
	bulkBytes = 1400
	// crossPairs are so many that the kernel gives two loops about as many each.
	crossPairs = 40
	// chatterRate is packets a second of scenarios with many clients.
	chatterRate = 10_000
	// slowRate is packets a second for receivers that do not read them.
	slowRate = 2000
	// chokedRate is packets a second to a receiver that takes all, or chokedReads bytes of them, one
	// in a hundred: far less than the generator can offer, or it would measure itself.
	chokedRate  = 40_000
	chokedReads = 512 << 10
	// fewClients is what growth with the number of clients is measured against.
	fewClients = 100
	// floodFrames packets a write at full speed make the relay the limit: with one a write it is the
	// generator, whose system calls are as many then as the relay's.
	floodFrames = 8
	// countEnough packets let what a relay allocates now and then, some hundred objects a second, be
	// below one in a hundred packets.
	countEnough = 100_000
	// lonelyRate and lonelyGap let each packet be received, forwarded and waited for by itself, also
	// where other programs hold the relay or the generator up.
	lonelyRate = 500
	lonelyGap  = time.Millisecond
	// askWindow is the traffic before a question to all clients: nothing is measured of it, and it is
	// too short for interference to be told (runner's noiseSpanMin).
	askWindow = 200 * time.Millisecond
	// readmitMax is the time a client in which all that were cut should be back: derper takes
	// 0.9 ms of a processor for each.
	readmitMax = 1500 * time.Microsecond
)
