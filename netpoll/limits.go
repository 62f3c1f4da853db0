package netpoll

import "time"

// Defaults of Config.
const (
	// MaxConnsDefault bounds a loop's table. A million idle connections are what a large
	// machine can hold; the table grows by pages, so that the bound itself costs nothing.
	MaxConnsDefault = 1 << 20

	// ArenaBytesDefault is what a turn can receive: sixteen full shares, or 700 packets of
	// 1.4 KB, and still a part of the second-level cache.
	ArenaBytesDefault = 1 << 20

	// ReceiveBytesDefault is the share of one connection in a turn: four of the largest TLS
	// records. More would let one sender delay all others by the time it takes to relay it.
	ReceiveBytesDefault = 64 << 10

	// SliceDefault is the least that the kernel grants.
	SliceDefault = 100 * time.Microsecond
)

const (
	// loopsMax follows from the 8 bits that a Handle has for the loop.
	loopsMax = 1 << 8

	// connsMax follows from the 24 bits that a Handle has for the slot.
	connsMax = 1 << 24

	// receiveBytesMin is one largest TLS record: what is received in smaller pieces has to
	// be put together again at the cost of a copy.
	receiveBytesMin = 16 << 10

	// arenaAlignBytes is a cache line: what two connections received never shares one.
	arenaAlignBytes = 64

	// eventsPerPoll bounds what one epoll_wait returns. Deep turns are what makes a busy
	// loop cheap; beyond some hundreds the system call is no longer seen in a profile.
	eventsPerPoll = 512

	// acceptsPerTurn bounds the new connections of one listener in a turn. An accept costs
	// about as much as relaying a packet, so a burst delays established ones by < 1 ms.
	acceptsPerTurn = 64

	// acceptPauseMin and acceptPauseMax bound how long accepting rests when the process is
	// out of descriptors or memory. It doubles from one to the other: the first retry is
	// soon, because what failed may have been a moment's peak.
	acceptPauseMin = 100 * time.Millisecond
	acceptPauseMax = time.Second

	// probeEvery is the time between keepalive probes that nobody answers, as Go's own sockets
	// have it; the kernel's default of 75 s would notice a dead peer a minute later.
	probeEvery = 15 * time.Second

	// timeoutMax bounds SetTimeout, so that ticks can be compared modulo 2^32 (6.8 years).
	timeoutMax = 365 * 24 * time.Hour

	// connsPerPage is how many slots the table grows by: 32 KiB, quick to clear, and small
	// beside what as many connections cost the kernel.
	connsPerPage = 1 << pageBits
	pageBits     = 10

	// wheelSlots times TimerTick (205 s) lies beyond the keep-alives and idle times that
	// are usual, so that hardly any timer is looked at before it is due.
	wheelSlots = 1 << 12
)

const (
	// standingLong is for how many milliseconds more has to wait behind each receive of a connection
	// before its buffer is kept from growing: longer than what a burst leaves, shorter than a user
	// notices. standingOver is for how many of them this must not have happened until it may grow
	// again: a loop at its limit does catch up now and then.
	standingLong = 10
	standingOver = 1000
	// sockReceiveBufferLock is SOCK_RCVBUF_LOCK of Linux, for SO_BUF_LOCK.
	sockReceiveBufferLock = 2
)

// unsentBytesMax is how much the kernel takes of a connection beyond what TCP may send at
// once (TCP_NOTSENT_LOWAT). The system's own bound is megabytes, behind which a handler
// could not see for seconds that a peer has stopped reading, nor drop what has grown old.
// 128 KiB is 100 ms of a 10 Mbit/s path and two sends of the largest size.
const unsentBytesMax = 128 << 10

const (
	// briefMax is how long a sleep was for the next one to be expected brief too: such a one keeps
	// the processor of Go's scheduler. Should it become longer, the runtime interrupts it by a
	// signal when it wants the processor, and after 10 ms in any case; and briefLimit ends it, should
	// signals be turned off (GODEBUG=asyncpreemptoff=1). That
	// is no shorter, since a timer that is the next of all costs 2 µs to set and to take back (it
	// is written to the processor's own, which a hypervisor intercepts).
	briefMax   = time.Millisecond
	briefLimit = 20 * time.Millisecond
)

// Of loops on io_uring.
const (
	// heldTurnsMax is how many turns a request on the first ring waits for the sleep that would take
	// it along, while other rings keep the loop from sleeping.
	heldTurnsMax = 8

	// uringEntries and uringCompletions are the queues of a ring: as many requests as a deep
	// turn makes, and room for their completions beside eight times as many receives. Where
	// they do not suffice, a turn submits in between, and the kernel keeps what is too much.
	// The second also sets how many lists the kernel has for finding a request to cancel.
	uringEntries     = 1 << 10
	uringCompletions = 1 << 13

	// filesPerBankMax bounds a table of direct descriptors, which the kernel allocates whole
	// (8 bytes a place). Many connections take several rings, each entered on its own; below
	// this number that is never necessary where RLIMIT_NOFILE allows it.
	filesPerBankMax = 1 << 17

	// acceptsInFlight is acceptsPerTurn where accepts are waiting in the kernel: what it
	// completes at once is a turn's.
	acceptsInFlight = acceptsPerTurn

	// bufferBytes is the size of a receive buffer: the largest share of a connection in one
	// piece, and large against the bytes at its end that are left over as a short receive.
	bufferBytes = 64 << 10

	// bufferOnceBytes is the size where the kernel uses a buffer for one receive only (before
	// Linux 6.12): a largest TLS record, and several times as many in an arena.
	bufferOnceBytes = 16 << 10

	// quiesceMax bounds how long the end of a loop waits for requests that were cancelled,
	// which takes microseconds. After it memory that they might use is not given back.
	quiesceMax = 5 * time.Second

	// looksPerTimeout is how often a peer that holds a send up is looked after in a write timeout,
	// and looksMax how many looks may find as much unacknowledged as at first: chance may do that
	// once or twice. A receiver of 64 KB a second over loopback, whose window opens in steps of more
	// than that, was seen to acknowledge nothing for more than a timeout of 2 s: with four it was cut.
	looksPerTimeout = 4
	looksMax        = 6

	// leaveMax is how long a connection without a write timeout may take, after Close, to send
	// what was copied. The kernel would give the same bytes minutes, in its own memory.
	leaveMax = 10 * time.Second

	// parkRound is how long a connection is silent, once to twice as long, before it is parked.
	// Waking one up costs a microsecond, so it may be short; but a client that pings every few
	// seconds should not be. A round goes through the whole table, parkSlots in a turn: as many take
	// a quarter of a millisecond, for which others have to wait.
	parkRound = 10 * time.Second
	parkSlots = 64

	// sendCopyMax is the longest Send that is copied, and so over for the handler at once. A
	// copy of 16 KiB takes a tenth of the time of sending it.
	sendCopyMax = 32 << 10

	// sendSlabBytes is how the memory for these copies grows, and sendBytesMax where it ends;
	// beyond it sends are made from the handler's memory. It is what a turn sends to a
	// thousand connections that get three packets each.
	sendSlabBytes = 256 << 10
	sendBytesMax  = 4 << 20
)
