package loadgen

import "time"

// Step is one run of a workload's traffic at one rate: warm-up, measured window, drain.
type Step struct {
	Rate   float64       `json:"rate"`      // packets a second of all groups with a Share
	Warm   time.Duration `json:"warm_ns"`   // sent, not measured
	Window time.Duration `json:"window_ns"` // measured
	Drain  time.Duration `json:"drain_ns"`  // at most, for what is under way when the window ends
	// Ask lets every client prove at the end, with a Ping, that it is still served.
	Ask bool `json:"ask,omitempty"`
	// Busy polls without ever sleeping: times are met exactly and the relay is not charged for
	// waking the generator, which needs a processor of its own for each loop.
	Busy bool `json:"busy,omitempty"`
}

// StepResult is what came of a Step. Rates and latencies are of the window, books of the whole
// step.
type StepResult struct {
	Step    Step          `json:"step"`
	Began   time.Time     `json:"began"`
	Window  time.Duration `json:"window_ns"` // as it was
	Partial bool          `json:"partial,omitempty"`

	Groups []GroupResult `json:"groups"`
	Books  Books         `json:"books"`
	Wrong  Wrong         `json:"wrong,omitzero"`
	Slack  Slack         `json:"slack"`
	Series []Sample      `json:"series,omitempty"`

	Clients   int               `json:"clients"`  // logged in at the end
	Answered  int               `json:"answered"` // of those asked with a Ping at the end …
	Asked     int               `json:"asked"`    // … which are all that were logged in
	Failures  Failures          `json:"failures,omitempty"`
	Logins    uint64            `json:"logins,omitempty"` // during the step: churn and storms
	Readmit   time.Duration     `json:"readmit_ns,omitempty"`
	STUN      *STUNResult       `json:"stun,omitempty"`
	Processes int               `json:"processes"` // of the generator
	Relays    []RelayUse        `json:"relays,omitempty"`
	Notes     map[string]string `json:"notes,omitempty"`
}

// GroupResult is what came of one group in the window.
type GroupResult struct {
	Name      string `json:"name"`
	Due       uint64 `json:"due"`
	Sent      uint64 `json:"sent"` // written to the kernel
	Delivered uint64 `json:"delivered"`
	SentBytes uint64 `json:"sent_bytes"` // of packets
	Bytes     uint64 `json:"bytes"`      // of packets delivered
	// Latency is from when a packet was due until its receiver had it, of packets due in the window.
	Latency *Hist `json:"latency_ns,omitempty"`
}

// Books account for every packet that was due in a step:
//
//	Due  = NotAccepted + Sent
//	Sent = Delivered + Dropped + InFlight + Unexplained
//
// Unexplained may be below zero: the relay counted drops of somebody else's packets.
type Books struct {
	Due         uint64 `json:"due"`
	NotAccepted uint64 `json:"not_accepted"` // TCP held it back for too long, or to the end
	Sent        uint64 `json:"sent"`
	Delivered   uint64 `json:"delivered"`
	// InFlight packets had not come when the drain ended, and can still: their receiver does not
	// read, or reads slowly, or the connection of either end was cut on purpose or by failure.
	InFlight uint64 `json:"in_flight"`
	// Exposed is what the generator saw no end of, of which the relays may have dropped some; kept
	// where their drops are read, and 0 in reports of before.
	Exposed uint64 `json:"exposed,omitempty"`
	// Dropped is what the relays counted, by their reason.
	Dropped      map[string]uint64 `json:"dropped,omitempty"`
	DroppedKnown bool              `json:"dropped_known"`
}

// Settle takes what the relays dropped out of what is in flight: that is so only as far as no drop
// explains it.
func (b *Books) Settle() {
	open := max(0, int64(b.Sent)-int64(b.Delivered)-int64(b.Drops()))
	b.InFlight = min(b.Exposed, uint64(open))
}

// Drops is the sum over the reasons.
func (b *Books) Drops() (sum uint64) {
	for _, n := range b.Dropped {
		sum += n
	}
	return sum
}

// Unexplained is the loss, in packets, that nobody accounts for.
func (b *Books) Unexplained() int64 {
	return int64(b.Sent) - int64(b.Delivered) - int64(b.Drops()) - int64(b.InFlight)
}

// Wrong counts delivered packets that should not have been delivered so. Any is a failure of the
// run.
type Wrong struct {
	Key     uint64 `json:"key,omitempty"`     // not from whom it says, or not to whom it was sent
	Order   uint64 `json:"order,omitempty"`   // behind a later one of its pair and class
	Content uint64 `json:"content,omitempty"` // altered, or not ours
	Twice   uint64 `json:"twice,omitempty"`   // a number that had come already
}

// Any tells whether there was one.
func (w Wrong) Any() bool { return w != Wrong{} }

// Slack says how far the generator was from its own limit.
type Slack struct {
	// Idle is the share of the window in which a loop had nothing to do; the work of a loop of OwnLoop
	// counts as that of the others, and what asks for STUN is a loop. CPU time does not say it, for
	// a loop that polls is always busy.
	Idle float64 `json:"idle"`
	// Loops is how many there are, that of OwnLoop left out: by it Idle is weighted where results are
	// merged.
	Loops int `json:"loops,omitempty"`
	// BusyNanosPerPacket is the time that loops worked, by packet delivered.
	BusyNanosPerPacket float64 `json:"busy_ns_per_packet"`
	// Lag is how far behind their due time packets were written whose connection could take them.
	Lag *Hist `json:"lag_ns,omitempty"`
	// CPU is what the generator's processes used in the window.
	CPU CPU `json:"cpu"`
	// Limited says in a few words why the generator was the limit; empty: it was not.
	Limited string `json:"limited,omitempty"`
}

// CPU is processor time.
type CPU struct {
	User   time.Duration `json:"user_ns"`
	System time.Duration `json:"system_ns"`
}

// Sum is both.
func (c CPU) Sum() time.Duration { return c.User + c.System }

// Sub is the difference of two readings of one process.
func (c CPU) Sub(before CPU) CPU { return CPU{c.User - before.User, c.System - before.System} }

// Sample is an interval of the series of a step.
type Sample struct {
	At        time.Duration `json:"at_ns"` // of its end, from the start of the window
	Due       uint64        `json:"due"`
	Sent      uint64        `json:"sent"`
	Delivered uint64        `json:"delivered"`
	P50       time.Duration `json:"p50_ns"`
	P99       time.Duration `json:"p99_ns"`
	Clients   int           `json:"clients"`
}

// RelayUse is what the relay's process used in the window.
type RelayUse struct {
	PID      int   `json:"pid"`
	CPU      CPU   `json:"cpu"`
	RSSBytes int64 `json:"rss_bytes"` // at the end
	// GrewBytes is what that is more than at the beginning.
	GrewBytes int64 `json:"grew_bytes"`
}

// STUNResult is what came of binding requests in the window.
type STUNResult struct {
	Due      uint64 `json:"due"`
	Sent     uint64 `json:"sent"` // the kernel took them
	Answered uint64 `json:"answered"`
	// Asked is how many requests were sent in the whole step, and Lost how many of those had no answer
	// when the drain ended.
	Asked uint64 `json:"asked"`
	Lost  uint64 `json:"lost"`
	// Wrong answers had another address or transaction, in the whole step.
	Wrong uint64 `json:"wrong,omitempty"`
	// Latency is from when a request was due until its answer came, of those due in the window.
	Latency *Hist `json:"latency_ns,omitempty"`
}

// RampResult is what logging in took.
type RampResult struct {
	Clients  int           `json:"clients"`
	Wanted   int           `json:"wanted"`
	Took     time.Duration `json:"took_ns"`
	Failures Failures      `json:"failures,omitempty"`
	Login    *Hist         `json:"login_ns,omitempty"` // from connect to ServerInfo
	Relays   []RelayUse    `json:"relays,omitempty"`
	// KernelBytes is what sockets took more at the end, in slabs and buffers, of both ends of each
	// connection to this machine; 0: not known.
	KernelBytes int64  `json:"kernel_bytes,omitempty"`
	Processes   int    `json:"processes"`
	Why         string `json:"why,omitempty"` // there is more than one process
	Partial     bool   `json:"partial,omitempty"`
}
