package ratelimit

import "derpd/relay/derp"

const (
	// frameBytesMax is the most that one frame is charged with: the longest SendPacket. A
	// longer one is either a mesh peer's, which is exempt, or ends its connection.
	frameBytesMax = derp.KeyLen + derp.MaxPacket

	// burstBytesMin is the smallest burst: less, and no reader would ever see the longest
	// frame without a pause. derper raises smaller ones to the same value.
	burstBytesMin = frameBytesMax

	// fileBytesMax bounds what is read of a configuration file. A real one has 100 bytes;
	// more than this is a path given by mistake.
	fileBytesMax = 64 << 10

	// spanNsMax, 73 years, stands for every longer time that limits can amount to. Twice as
	// much, and a loop's time beside it, fit an int64.
	spanNsMax = 1 << 61
)
