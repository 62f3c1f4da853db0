package reference

import "time"

const (
	// loginMax is how long a connection may take to log in.
	loginMax = 10 * time.Second
	// readBytes is what a connection is read by: a TLS record and its header fit.
	readBytes = 17 << 10
	// pendingBytesMax is how much may wait for a receiver that does not read, beside what its
	// kernel holds, before its packets are dropped. derper queues 32 packets of each kind.
	pendingBytesMax = 256 << 10
	// napMax bounds how long the delivering thread sleeps: an earlier packet may come meanwhile, of
	// a reader that was late, or a stall.
	napMax = 200 * time.Microsecond
	// spin is how long it waits awake before a packet is due: longer than a thread takes to wake.
	spin = 80 * time.Microsecond
	// stampAgeMax is the oldest receive time that is believed: beyond it the wall clock was set
	// between the kernel's look at it and ours.
	stampAgeMax = time.Second
	// holdMax is how long a packet that is to be overtaken waits for the next of its pair.
	holdMax = time.Second
)
