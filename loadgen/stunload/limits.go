package stunload

import "time"

const (
	// socketsMax bounds the sockets: above it the descriptors and ports of one source address get
	// scarce, and one goroutine has no use for more.
	socketsMax = 10_000
	// batchMessages is how many datagrams one system call takes or gives, as in the stun package.
	batchMessages = 64
	// turnBatches is a socket's share of a turn, of sending and of receiving: what is due is not held
	// up by answers, nor do they wait until there is no room for them.
	turnBatches = 4
	// replyBytesMax is the longest datagram looked at; an answer has 44 bytes, or somewhat more if
	// a server adds attributes. What is longer is cut and then refused for its length field.
	replyBytesMax = 512
	// socketBufferBytes is asked of the kernel for each direction of a socket, so that a burst of
	// answers is not lost here.
	socketBufferBytes = 4 << 20
	// eventsMax is how many ready sockets are told at once.
	eventsMax = 256

	// inFlightMax is how many requests wait for an answer where there is no schedule. A server's
	// socket with the usual buffer of 208 KiB holds some 250 small datagrams: what it loses with
	// fewer is its own doing.
	inFlightMax = 2 * batchMessages
	// giveUpAfter is when a request without an answer makes room for another, where there is no
	// schedule.
	giveUpAfter = time.Second

	// rememberFor is how long after it was sent a request is still known, where there is a
	// schedule: an answer that takes longer is not counted.
	rememberFor = 5 * time.Second
	// tableEntriesMin and tableEntriesMax bound the memory that this takes, 24 bytes a request. The
	// least is what there is without a schedule, where a request that is forgotten is given up.
	tableEntriesMin = 1 << 15
	tableEntriesMax = 1 << 22

	// graceSpan is how long after the window what was due in it is still sent, as in the engine.
	graceSpan = 50 * time.Millisecond
	// queuedMax is how many requests wait for the kernel to take them. What becomes due meanwhile
	// is late, and its latency says so.
	queuedMax = 1 << 16
	// sendTries is how often a request is tried that the kernel refuses; an error that ICMP has
	// left behind is gone with the call that told it.
	sendTries = 3
	// retryPause is how long a full send buffer is left alone.
	retryPause = 100 * time.Microsecond
	// sleepMax bounds a sleep, and with it how late the end of the context is noticed.
	sleepMax = 10 * time.Millisecond
	// perSecondMax is more than any machine sends: a larger rate is a slip.
	perSecondMax = 1e8
)
