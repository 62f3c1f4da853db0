package fakepoll

import "time"

const (
	// receiveMaxBytes bounds one Received: as much as one receive call of a real backend
	// takes at most.
	receiveMaxBytes = 64 << 10

	// receivesPerTurnMax bounds how often one connection is served in a turn, so that one
	// busy peer does not keep the others waiting in a calm world either.
	receivesPerTurnMax = 4

	// frozenWindowBytes is what a frozen peer without a window of its own still takes:
	// the socket buffers of two kernels together hold about that much.
	frozenWindowBytes = 256 << 10

	// acceptRetryDelay is how long accepting pauses after a want of descriptors; a real
	// backend polls its listener again after a time of that order.
	acceptRetryDelay = 100 * time.Millisecond

	// acceptFailuresInRowMax makes every accept succeed in the end, even when the fault is
	// set to certain: a peer is never lost.
	acceptFailuresInRowMax = 8

	// turnCostMin keeps time moving with every turn, so that Advance ends whatever the
	// handlers do; turnCostSpread makes turns of loops fall out of step.
	turnCostMin    = 1 * time.Microsecond
	turnCostSpread = 32 * time.Microsecond

	// horizonDefault is how far ahead Step looks for a timer before it says that nothing
	// will ever happen: longer than any timeout a relay uses.
	horizonDefault = time.Hour

	// violationsKept bounds the list; after the first few the rest repeats them.
	violationsKept = 100

	// loopsMax and slotsMax are what a Handle can name.
	loopsMax = 256
	slotsMax = 1 << 24
)
