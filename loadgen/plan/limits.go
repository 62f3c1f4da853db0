package plan

import "time"

// What a Goal or Options leaves open.
const (
	budgetDefault = 60 * time.Second
	safetyDefault = 0.8
	p99Default    = 20 * time.Millisecond // far above a relay at ease, below what a person notices
	withinDefault = 60 * time.Second      // everybody back a minute after a cut
	activeDefault = 0.1
)

const (
	// budgetMin fits a ramp, a handful of steps and a short verification.
	budgetMin = 10 * time.Second
	// clientsMax and clientsPerSecond bound how many clients the test logs in: enough for memory
	// a client to stand out from a relay's own, few enough that two cores that do both ends of
	// each handshake are done in a small part of the budget.
	clientsMax       = 5000
	clientsPerSecond = 80 // of budget
	clientsMin       = 20 // of a made workload: ten pairs
	// rampShare is the part of the budget after which the ramp ends with whom it has.
	rampShare = 0.5
	// graceMax is how much longer than planned a step may take before it is cut off.
	graceMax = 5 * time.Second
)

// Steps.
const (
	// A step's window is a windowShare of the budget, within stepMin and stepMax.
	windowShare = 60
	stepMin     = time.Second
	stepMax     = 3 * time.Second
	warmShare   = 4           // part of a window that is sent before it
	drainMax    = time.Second // what is under way after an overload may take that long
	// startRate is where growth begins if the goal names no rate, a fraction startShare of the
	// goal's else; packets a second.
	startRate  = 4000
	startShare = 8
	startMin   = 200
	rateMin    = 10  // below it no p99 can be told in a step
	rateMax    = 1e8 // no machine does that; it ends the growth over a fleet that claims all
	growFactor = 2
	fallFactor = 4 // when even the first rate is too much
	// roughRatio and kneeRatio are how close the passing and the failing rate end up.
	roughRatio = 1.25
	kneeRatio  = 1.08
	// votesFew is the budget below which a single step decides.
	votesFew = 30 * time.Second
	// spareMin is the share of its time that the generator has to have to spare at a rate that is
	// planned with: with less, what it measures is itself.
	spareMin = 0.15

	// disturbedMin is the share of all processors that others have to use in a step for its
	// failure to be pardoned; interrupts that nobody is charged for stay below it.
	disturbedMin = 0.2
	// deliveredMin is the share of what was due that a relay which keeps up delivers.
	deliveredMin = 0.999
	// edgeMax is how much longer the queue may be at the end of a window than at its start: what
	// came due within it may be missing without the relay being behind. Without it a hiccup of a
	// millisecond in the wrong place would fail a step.
	edgeMax = 2 * time.Millisecond
	// lostMax is the share of clients that may be gone after a step; more, and the relay broke.
	lostMax = 0.01
	// reopenMax is how often the clients may log in anew after the relay broke.
	reopenMax = 2
)

// Verification.
const (
	verifyShare = 6 // part of the budget that the longer step takes, within verifyMin and verifyMax
	verifyMin   = 3 * time.Second
	verifyMax   = 10 * time.Second
	// reserveFactor windows of verification are kept back from the search: one, and a shorter one
	// if the first does not hold.
	reserveFactor = 1.6
	downFactor    = 0.8
	// nearMin is the lowest rate, as a share of the planned one, whose steps count for its p99.
	nearMin = 0.6
	// marginSigmas of the spread seen are added to a p99 before it is promised. The spread is the
	// standard deviation of the logarithm of p99 over equal steps; spreadMin is what two equal
	// windows on a shared machine always differ by, spreadMax where one odd step would promise
	// nothing, spreadGuess where no two steps were equal.
	marginSigmas = 2.5
	spreadMin    = 0.15
	spreadMax    = 0.6
	spreadGuess  = 0.3
)

// Answers.
const (
	// loginsForCPU is how many logins it takes before the processor time of one can be told.
	loginsForCPU = 100
	// busyMin is the share of the relay's processors from which on a ramp was its limit.
	busyMin = 0.85
	// growthMin is how many bytes a client must have cost to be told from noise.
	growthMin = 64
	// headroom is what is added to a limit that is advised, and descriptorsExtra what a relay
	// opens besides its clients.
	headroom         = 1.25
	descriptorsExtra = 1000
	// loginWaitSeconds is how long a connection may wait to be accepted and still be of use: half
	// of the 10 s after which DERP clients give up.
	loginWaitSeconds = 5
	// backlogMin and backlogMax bound the accept queue that is advised: Linux's default, and the
	// most that a listener can have had in older kernels.
	backlogMin = 4096
	backlogMax = 65535
	// portsMin are ports a generator needs for each pair of addresses.
	portsMin = 10_000
	// tcpMemShare is the part of tcp_mem's pressure mark that TCP buffers should stay below.
	tcpMemShare = 0.5
	// quietMax is the share of all processors that others may take without a note.
	quietMax = 0.1
	// flatMin and collapseMax say what a relay does beyond its knee, as shares of what it
	// delivered there.
	flatMin     = 0.8
	collapseMax = 0.5
)
