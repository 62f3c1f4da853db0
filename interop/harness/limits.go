package harness

import "time"

const (
	// startWaitMax bounds a relay's start. A cold binary of 40 MB is read from disk first.
	startWaitMax = 20 * time.Second

	// stopWaitMax bounds the end after SIGTERM, before SIGKILL and a failed test.
	stopWaitMax = 10 * time.Second

	// buildWaitMax bounds one `go build`. tailscaled takes two minutes on two cold cores.
	buildWaitMax = 15 * time.Minute

	// ReplyWaitMax bounds the wait for anything a relay owes at once. It is long because two
	// busy cores run many tests side by side; a relay that answers never pays it.
	ReplyWaitMax = 15 * time.Second

	// PollEvery is the pause between two looks at something awaited.
	PollEvery = 20 * time.Millisecond

	// peerQueueMessages is how many received messages a Peer holds for its test. More than
	// any test sends without reading, so the reader never holds the relay back.
	peerQueueMessages = 8192

	// logTailLines is how much of a relay's log a failed test prints.
	logTailLines = 60
)
