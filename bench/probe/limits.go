package probe

import "time"

const (
	// pageBytesMax bounds a heap profile; those of relays with thousands of clients have 200 KB.
	pageBytesMax = 4 << 20
	// pageWaitMax bounds the wait for one: a relay under full load answers late.
	pageWaitMax = 5 * time.Second
	// countTriesMax bounds how often counting begins anew because a thread was started meanwhile:
	// that takes a millisecond, and a relay without load starts hardly any.
	countTriesMax = 50
	// samplesPerSecond is a prime, so that it is in step with nothing. Each costs a processor some
	// 3 µs.
	samplesPerSecond = 997
	// sampleBytes hold those of 16 s, which is longer than any window; a power of two of pages.
	sampleBytes = 256 << 10
	// throttlePeriod is how often a share is granted. The kernel's default of 100 ms would stop a
	// relay for most of that at a time; below some milliseconds its own timer costs too much.
	throttlePeriod = 10 * time.Millisecond
	// quotaMin is the least that the kernel grants in a period.
	quotaMin = time.Millisecond
	// rmdirTries and rmdirWait bound the wait for a cgroup to be empty when its last process has
	// just been moved or has ended.
	rmdirTries = 100
	rmdirWait  = 10 * time.Millisecond
)
