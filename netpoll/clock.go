package netpoll

import "time"

// epoch is the start of the time that all loops of the process share. One nanosecond before
// the start of the program keeps zero free to mean "never".
var epoch = time.Now().Add(-1)

// Clock reads the time that Loop.Now tells, in nanoseconds since a start that all loops of the
// process share.
func Clock() int64 { return monotonic() }

// monotonic returns nanoseconds since epoch by CLOCK_MONOTONIC, through the vDSO.
func monotonic() int64 { return int64(time.Since(epoch)) }
