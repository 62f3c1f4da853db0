package stun

import "time"

const (
	// batchMessages is how many requests one system call takes and one answers: with 64
	// the calls' own cost is a few percent of the packets', and the buffers stay in cache.
	batchMessages = 64
	// requestBytesMax is the longest datagram looked at. Real requests have 40 bytes; RFC
	// 8489 §6.1 wants messages to fit IPv6's smallest MTU. What is longer is cut by the
	// kernel and then refused for its length field.
	requestBytesMax = 1280
	// replyBytesMax is an answer with an IPv6 address.
	replyBytesMax = headerLen + attributeHeaderLen + 4 + 16
	// controlBytesMax has room for both control messages that come with an IPv4 request
	// on a dual-stack socket: 40 (in6_pktinfo) and 32 (in_pktinfo) bytes.
	controlBytesMax = 96
	// socketBufferBytes is asked of the kernel for each direction. Its usual 208 KiB hold
	// some 250 small packets, less than a burst after a network change of many clients.
	socketBufferBytes = 4 << 20
	// readErrorsInRow failed reads are borne without a pause, since errors that ICMP or a
	// moment without memory leaves behind are gone with the read that told them.
	readErrorsInRow = 16
	// readErrorPause follows each failed read behind those: an error that stays must not
	// take a core.
	readErrorPause = 100 * time.Millisecond

	// restLeast is the shortest nap in which requests gather: a timer and a wake-up cost as much as
	// an answer.
	restLeast = 25 * time.Microsecond
	// briefMax is how long a wait was for the next one to be expected brief too; briefLimit ends
	// such a one. It is no shorter because a timer that is the next of its processor costs as
	// much as half an answer.
	briefMax   = time.Millisecond
	briefLimit = 20 * time.Millisecond
	// waitLimit ends any wait, should a kernel not wake it when the socket is shut down.
	waitLimit = time.Second
)
