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

	// frameMemory is what a frame takes beside its block's bytes: the block's head, and its place
	// in a chunk.
	frameMemory = 64 + 768/chunkFrames

	// sparesMax chunks are kept for the next frames: 30,000 of them, 1.5 MB. What a flood of empty
	// packets takes beyond is garbage.
	sparesMax = 2000

	// senderGroups is how many senders of a queue are told apart. Weighing them takes a look at
	// each frame, of which a queue holds 370 of the usual size and 14,000 of the smallest; the
	// heaviest sender loses heavyFrames, or that part of the queue, before it is done again.
	senderGroups = 64
	heavyFrames  = 16
	heavyPart    = 32

	// heavyReach is how far behind the head one frame is looked for, and noticesReach how many
	// notices may have to be told: beyond, the head goes, whoever sent it.
	heavyReach   = 512
	noticesReach = 16

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
