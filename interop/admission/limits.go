package admission

import "time"

const (
	// readyWaitMax bounds the start of tailscaled until it knows a node of its tailnet.
	readyWaitMax = 60 * time.Second

	// stopWaitMax bounds its end after SIGTERM.
	stopWaitMax = 10 * time.Second

	// recoverMax bounds how long after tailscaled's return a relay may still refuse.
	recoverMax = 20 * time.Second

	// pollEvery is the pause between two looks at something that is not ready.
	pollEvery = 100 * time.Millisecond
)
