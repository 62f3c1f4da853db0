package engine

import (
	"time"

	"derpd/loadgen/packet"
	"derpd/relay/derp"
)

const (
	// clientsPerTupleMax is how many connections share a source and a destination address. Above
	// some 14,000 the kernel's search for a free port takes milliseconds.
	clientsPerTupleMax = 10_000

	// headMax is what is looked at of a frame: header, key and stamp of a RecvPacket.
	headMax = derp.HeaderLen + derp.KeyLen + packet.HeadBytes

	// writesPerTurn keeps one sender that is behind its schedule from holding up the rest.
	writesPerTurn = 4
	// floodWritesPerTurn is a sender's turn at full speed: long enough that receivers find several
	// frames at once, short enough that their sockets do not fill meanwhile.
	floodWritesPerTurn = 16
	// behindBytes is what a receiver gets at once if it is behind: some 40 packets.
	behindBytes = 64 << 10
	// sendersPerTurn bounds the writes of a turn, so that receiving is not put off for long.
	sendersPerTurn = 256
	// sealsPerTurn is how many writes an idle turn seals ahead: 20 µs, which nobody notices.
	sealsPerTurn = 16

	// cutsPerTurn is how many connections of a cut are reset in a turn, in a fifth of a millisecond.
	cutsPerTurn = 32

	// batchBytesMin and batchBytesMax bound what one sender has sealed ahead, whatever the budget.
	batchBytesMin = 16 << 10
	batchBytesMax = 64 << 20

	// loginTries is how often a client tries to log in before it is given up.
	loginTries = 3
	// garbageRoom is what a step may leave in memory, in bytes; heapMin is what Go takes a smaller
	// heap for.
	garbageRoom = 512 << 20
	heapMin     = 4 << 20

	// interruptedSlice makes the kernel let a loop with the default slice go before one with this.
	interruptedSlice = time.Millisecond
	// workSlice is what a worker gives up the rest of after a step of a handshake. Beside loops that
	// sleep it costs it nothing, and they may nearly always interrupt it.
	workSlice = time.Millisecond
	// firstNice is how nice the loop of OwnLoop is: beside it the handshakes of a storm get the
	// thirtieth part of a processor that it has use for.
	firstNice = -15
	// timerSlack is how late the kernel may let a sleeping loop be.
	timerSlack = time.Microsecond
	// retryAfter is how long a client that lost its connection waits before it comes back.
	retryAfter = time.Second
	// httpHeadMax bounds the answer to the upgrade.
	httpHeadMax = 8 << 10

	// quietSpan ends a drain: a relay that has delivered nothing for so long has dropped the rest.
	// derpd's queues hold nothing longer than a second.
	quietSpan = 1500 * time.Millisecond
	// hurrySpan is how long an interrupted step still waits for what is under way.
	hurrySpan = time.Second
	// lookAgain is how often a sender looks whether its last packet has arrived. A packet takes some
	// 50 µs over loopback.
	lookAgain = 50 * time.Microsecond
	// graceSpan is how long after the window what was due in it is still written, if it can be.
	graceSpan = 50 * time.Millisecond
	// lookSpan is how often a waiting engine looks at its loops.
	lookSpan = 20 * time.Millisecond
	// sampleSpan is the interval of a series; long windows have longer ones.
	sampleSpan = 250 * time.Millisecond
	samplesMax = 240
	// leadSpan is the time between the last preparation and the start of a step.
	leadSpan = 5 * time.Millisecond

	// pingsAtOnce is how many clients of a loop are asked at once; pingWait how long they have.
	pingsAtOnce = 256
	pingWait    = 10 * time.Second

	// busyLimit, lagLimit and lagShare say when a generator was the limit: it had hardly an idle
	// moment, or it wrote packets late that the connection would have taken, by more than a moment
	// and more than a quarter of what they then took in all.
	busyLimit = 0.95
	lagLimit  = 2 * time.Millisecond
	lagShare  = 4
)
