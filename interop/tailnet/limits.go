package tailnet

import "time"

const (
	// commandWaitMax bounds one command that only configures or asks.
	commandWaitMax = 30 * time.Second

	// readyWaitMax bounds the wait for a process to answer. tailscaled reads 40 MB of binary
	// and makes its keys first.
	readyWaitMax = 30 * time.Second

	// loadTime is the length of one load. Ten seconds leave CPU times of at least half a
	// second, fifty times the grain of /proc.
	loadTime = 10 * time.Second

	// loadWaitMax bounds one iperf3 run, its connecting and its report.
	loadWaitMax = loadTime + 30*time.Second

	// stopWaitMax bounds the end of a process after SIGTERM, before SIGKILL.
	stopWaitMax = 5 * time.Second

	// pollEvery is the pause between two looks at something that is not ready.
	pollEvery = 100 * time.Millisecond

	// udpMbitPerSecond is a rate that a relay on a small machine must carry without loss.
	udpMbitPerSecond = 50

	// udpPayloadBytes fits Tailscale's MTU of 1280 with IPv4 and UDP headers.
	udpPayloadBytes = 1200

	// rounds is how often each relay is measured, in turn, so that a slow moment of the
	// machine does not hit one of them only.
	rounds = 2
)
