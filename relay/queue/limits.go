package queue

import "time"

const (
	// dataBytesMax bounds the waiting data of one connection. 512 KiB is 80 ms of a
	// 50 Mbit/s path: enough to ride out a burst, short enough to stay fresh.
	dataBytesMax = 512 << 10
	// discoBytesMax bounds waiting disco. Probes are ~120 bytes; 64 KiB is 500 of them.
	discoBytesMax = 64 << 10
	// framesMin frames are kept however large they are: derper queues 32 of each class,
	// and its bandwidth prober keeps 30 packets of 64 KiB in flight.
	framesMin = 32

	// senderGroups is how many senders of a queue are told apart, and heavyFrames how many frames
	// the heaviest of them loses before they are weighed again: a look at some 370 frames takes
	// as long as to relay one packet.
	senderGroups = 64
	heavyFrames  = 16

	// AgeMax is how long a frame may wait. What is older is worth less to WireGuard than
	// the frames behind it: its retransmission timers have long fired.
	AgeMax = time.Second

	// InboxDataMax and InboxDiscoMax bound, in bytes, what other loops may have pushed that
	// the owner has not taken yet. The owner takes all once a turn; 32 of the longest frames
	// must fit even so.
	InboxDataMax  = framesMin*(64<<10+64) + dataBytesMax
	InboxDiscoMax = 2 * discoBytesMax

	// shareMin is what a queue may hold when the loop's budget is spent, so that every
	// destination keeps making progress.
	shareMin = 16 << 10
)
