package plan

import (
	"time"

	"derpd/loadgen"
	"derpd/loadgen/host"
)

// Result is what a plan found and what it concludes. Rates are packets a second of one host unless
// they say otherwise.
type Result struct {
	Goal     Goal             `json:"goal"`
	Workload loadgen.Workload `json:"workload"` // as it was run
	Machine  host.Machine     `json:"machine"`
	Began    time.Time        `json:"began"`
	Took     time.Duration    `json:"took_ns"`
	Budget   time.Duration    `json:"budget_ns"`
	Safety   float64          `json:"safety"` // planned load over the knee of latency
	// Partial: it was stopped, or the relay went away, before the plan was complete; Notes say.
	Partial bool `json:"partial,omitempty"`
	// Wrong is what the relay did that no relay may, by which the plan ended; empty: nothing.
	Wrong string `json:"wrong,omitempty"`

	Throughput Knee    `json:"throughput_knee"`
	Latency    Knee    `json:"latency_knee"`
	Beyond     *Beyond `json:"beyond,omitempty"`
	Planned    Planned `json:"planned"`
	Steps      []Row   `json:"steps"`

	// Memory is nil if the relay's process could not be read.
	Memory *Memory `json:"memory,omitempty"`
	Logins Logins  `json:"logins"`
	// CorePackets is what one processor would carry by the processor time a packet took at the
	// highest rate that was delivered: an extrapolation. 0: not known.
	CorePackets float64 `json:"core_packets_per_second"`

	Hosts  Hosts    `json:"hosts"`
	Advice []Advice `json:"advice,omitempty"`
	Breaks string   `json:"breaks"` // what breaks first, in a sentence
	Notes  []string `json:"notes,omitempty"`
}

// Knee is the highest rate at which something held.
type Knee struct {
	Rate  float64 `json:"rate"`            // 0: at no rate that was tried
	Above float64 `json:"above,omitempty"` // lowest rate beyond it at which it did not hold; 0: none
	// AtLeast: the search ended before the relay did, so Rate is no capacity.
	AtLeast bool   `json:"at_least,omitempty"`
	Why     string `json:"why"` // the measurements it rests on
}

// Beyond is what the relay does when more is sent than it can deliver.
type Beyond struct {
	Rate      float64 `json:"rate"`
	Delivered float64 `json:"delivered"` // a second
	Kind      string  `json:"kind"`      // flat, falls or collapses
}

// Planned is the load that a host is planned to have.
type Planned struct {
	Rate float64 `json:"rate"`
	// P99 is what is promised: not exceeded by a run at this load, by what was seen and its spread.
	// 0: nothing can be promised.
	P99     time.Duration `json:"p99_ns"`
	Seen    time.Duration `json:"p99_seen_ns"` // of all steps near this load together
	Spread  float64       `json:"spread"`      // standard deviation of ln(p99) over equal steps
	Repeats int           `json:"repeats"`     // steps near this load
	// Verified: a step of VerifiedFor at this load delivered all within the bound.
	Verified    bool          `json:"verified"`
	VerifiedFor time.Duration `json:"verified_ns,omitempty"`
	AtLeast     bool          `json:"at_least,omitempty"` // the knee below it is no capacity
	Why         string        `json:"why"`
}

// Purpose is why a step was run.
type Purpose string

// The purposes, in their usual order.
const (
	Growth     Purpose = "growth"
	Throughput Purpose = "throughput" // bisection for the knee
	Latency    Purpose = "latency"    // likewise
	Repeat     Purpose = "repeat"     // near the planned load, for the spread
	Verify     Purpose = "verify"     // the longer one
)

// Row is one step of the search.
type Row struct {
	At        time.Duration `json:"at_ns"` // since the plan began
	Purpose   Purpose       `json:"purpose"`
	Rate      float64       `json:"rate"` // asked for
	Window    time.Duration `json:"window_ns"`
	Due       float64       `json:"due"`       // a second
	Delivered float64       `json:"delivered"` // a second
	P50       time.Duration `json:"p50_ns"`
	P99       time.Duration `json:"p99_ns"`
	P999      time.Duration `json:"p999_ns"`
	// CPUMicros is the relay's processor time a packet delivered, over the whole step; 0: not known.
	CPUMicros    float64           `json:"cpu_us"`
	Busy         float64           `json:"busy"` // processors that the relay used
	RSSBytes     int64             `json:"rss_bytes,omitempty"`
	Idle         float64           `json:"generator_idle"`
	Limited      string            `json:"generator_limited,omitempty"`
	Interference host.Interference `json:"interference"`
	Clients      int               `json:"clients"` // logged in at its end
	Lost         string            `json:"lost,omitempty"`
	Carried      bool              `json:"carried"` // delivered what was due
	Within       bool              `json:"within"`  // that, and within the bound

	latency *loadgen.Hist
	tcp     int64 // bytes of TCP buffers at its end
}

// Memory is what clients take, in bytes. The generator's end of each connection is on this machine
// too, so kernel memory is half of what was added.
type Memory struct {
	Clients      int     `json:"clients"` // that it was measured with
	UserClient   float64 `json:"user_per_client"`
	KernelClient float64 `json:"kernel_per_client"`
	// KernelExact is false where slabs of sockets could not be told from the kernel's others.
	KernelExact bool             `json:"kernel_exact"`
	Slabs       map[string]int64 `json:"slabs,omitempty"` // what each slab grew by, both ends
	Base        int64            `json:"base"`            // of a relay without clients
	Load        int64            `json:"load"`            // more of it at the planned load
	Total       int64            `json:"total"`           // of the machine
	// Descriptors: a client's, the relay's without clients, and its limit.
	FilesClient float64 `json:"files_per_client"`
	FilesBase   int     `json:"files_base"`
	FilesMax    int64   `json:"files_max"`

	tcpClient float64 // bytes of TCP buffers at the planned load, by client
}

// Logins is what the ramp says.
type Logins struct {
	Clients   int           `json:"clients"`
	Wanted    int           `json:"wanted"`
	Took      time.Duration `json:"took_ns"`
	PerSecond float64       `json:"per_second"` // as it was
	CPUMicros float64       `json:"cpu_us"`     // of the relay, each; 0: not known
	Busy      float64       `json:"busy"`       // processors that the relay used meanwhile
	P50       time.Duration `json:"p50_ns"`
	P99       time.Duration `json:"p99_ns"`
	// Planned is the rate that a host is planned with. If the relay was not busy in the ramp it is
	// Extrapolated from the processor time of a login; AtLeast, if that is not known.
	Planned      float64          `json:"planned_per_second"`
	Extrapolated bool             `json:"extrapolated,omitempty"`
	AtLeast      bool             `json:"at_least,omitempty"`
	Failures     loadgen.Failures `json:"failures,omitempty"`
	Why          string           `json:"why"`
}

// Constraint is what a number of hosts can follow from.
type Constraint string

// The constraints.
const (
	Packets     Constraint = "packets"
	MemoryBytes Constraint = "memory"
	Descriptors Constraint = "descriptors"
	LoginRate   Constraint = "logins"
)

// Hosts is how many hosts like this one the goal needs.
type Hosts struct {
	Count   int     `json:"count"`   // 0: cannot be said; Breaks says why
	Clients int     `json:"clients"` // of each
	Packets float64 `json:"packets"` // a second, of each
	// Binding is what asks for the most hosts.
	Binding Constraint `json:"binding,omitempty"`
	Needs   []Need     `json:"needs"`
}

// Need is how many hosts one constraint asks for.
type Need struct {
	Constraint Constraint `json:"constraint"`
	PerHost    float64    `json:"per_host"` // packets a second, or clients
	Hosts      int        `json:"hosts"`
	// AtMost: PerHost is a lower bound, so fewer hosts may do.
	AtMost bool   `json:"at_most,omitempty"`
	Rests  string `json:"rests_on"`
}

// Advice is a line to put into a configuration, and why.
type Advice struct {
	Line string `json:"line"`
	Why  string `json:"why"`
}
