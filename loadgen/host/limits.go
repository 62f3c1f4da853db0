package host

import "time"

const (
	// tick is the unit of times in /proc/PID/stat and /proc/stat: USER_HZ, 100 on every Linux
	// port this runs on (proc(5)).
	tick = 10 * time.Millisecond
	// listenLinesMax bounds how much of /proc/net/tcp is read. Listening sockets come first; no
	// machine has so many of them.
	listenLinesMax = 1 << 16
	// fingerprintMemoryUnit is how exactly machines must agree in memory to be alike: what a
	// kernel keeps for itself differs by some MiB from boot to boot.
	fingerprintMemoryUnit = 1 << 30
)
