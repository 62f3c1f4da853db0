package loadgen

import "time"

// Workload says who is connected and who sends what to whom. The zero Workload has nobody.
type Workload struct {
	Name string `json:"name"`
	// Idle clients are logged in and say nothing. At the end each of them has to answer for itself:
	// it sends a Ping, and a missing Pong is a failure.
	Idle   int     `json:"idle,omitempty"`
	Groups []Group `json:"groups,omitempty"`
	Churn  *Churn  `json:"churn,omitempty"`
	Cut    *Cut    `json:"cut,omitempty"`
	STUN   *STUN   `json:"stun,omitempty"`
	// WebSocket carries DERP in WebSocket messages.
	WebSocket bool `json:"websocket,omitempty"`
}

// Group is a set of clients that send and receive alike, and whose figures are told together.
// Sender i sends to receiver i modulo Receivers, so Receivers 1 is an incast. With more than one
// Target, sender and receiver are on different nodes if AcrossNodes is set, else on the same.
type Group struct {
	Name      string `json:"name"`
	Senders   int    `json:"senders"`
	Receivers int    `json:"receivers"`
	// BothWays lets each receiver send to its senders as well, by a schedule of its own; every
	// client of the group is then a sender of the same mean rate.
	BothWays    bool `json:"both_ways,omitempty"`
	AcrossNodes bool `json:"across_nodes,omitempty"`

	// Share is the part of Step.Rate that is due in this group, and Rate is packets a second of the
	// group whatever the step; both are the sum over its senders. If both are 0 the group sends as
	// fast as TCP takes it.
	Share   float64 `json:"share,omitempty"`
	Rate    float64 `json:"rate,omitempty"`
	Arrival Arrival `json:"arrival"`

	// Apart, if above 0, keeps packets of a sender apart: one leaves when the one before has arrived
	// and this long has passed. What is due meanwhile waits, so that the rate may not be reached.
	Apart time.Duration `json:"apart_ns,omitempty"`

	// Patience, if above 0, is how old a packet may be that TCP has held back: an older one is dropped
	// by its sender, as Tailscale's client drops what would wait behind too many others. If 0 a packet
	// waits until it can be sent or the step ends.
	Patience time.Duration `json:"patience_ns,omitempty"`

	Sizes          []Size `json:"sizes"`            // payload bytes and their weights
	FramesPerWrite int    `json:"frames_per_write"` // in one TLS record and one write; at least 1

	Reading Reading `json:"reading,omitzero"` // how the receivers read

	// OwnLoop gives the clients of such groups a loop of the generator that nobody else has, and that
	// may interrupt the others, so that what those cost it does not show in the latency of these.
	OwnLoop bool `json:"own_loop,omitempty"`
}

// Clients is how many clients the group has.
func (g *Group) Clients() int { return g.Senders + g.Receivers }

// FullSpeed tells whether the group sends as fast as TCP takes it.
func (g *Group) FullSpeed() bool { return g.Share == 0 && g.Rate == 0 }

// PerSecond is how many packets are due a second in this group, in a step; 0 at full speed.
func (g *Group) PerSecond(s *Step) float64 {
	if g.Share > 0 {
		return s.Rate * g.Share
	}
	return g.Rate
}

// Size is a class of packets. Weights are relative to those of the other sizes of the group.
type Size struct {
	Bytes  int     `json:"bytes"` // what magicsock would hand to DERP: 0 to 65536
	Weight float64 `json:"weight"`
	Disco  bool    `json:"disco,omitempty"` // looks like path discovery instead of WireGuard
}

// MeanBytes is the mean packet size of the mix.
func MeanBytes(sizes []Size) float64 {
	var sum, weight float64
	for _, s := range sizes {
		sum += s.Weight * float64(s.Bytes)
		weight += s.Weight
	}
	if weight == 0 {
		return 0
	}
	return sum / weight
}

// ArrivalKind names a process of arrivals.
type ArrivalKind string

// The kinds of arrivals.
const (
	Constant ArrivalKind = "constant" // evenly spaced, senders out of step with each other
	Poisson  ArrivalKind = "poisson"  // independent packets: exponential spaces
	Bursts   ArrivalKind = "bursts"   // Burst packets at once; the bursts are a Poisson process
	OnOff    ArrivalKind = "on-off"   // constant while on; On and Off are means of exponentials
)

// Arrival is when packets of one sender are due. Its mean rate comes from the group.
type Arrival struct {
	Kind  ArrivalKind   `json:"kind"`
	Burst int           `json:"burst,omitempty"` // packets, for Bursts
	On    time.Duration `json:"on_ns,omitempty"` // means, for OnOff
	Off   time.Duration `json:"off_ns,omitempty"`
}

// Reading is how a group's receivers read. The zero Reading is as fast as it comes.
type Reading struct {
	BytesPerSecond int  `json:"bytes_per_second,omitempty"`
	Never          bool `json:"never,omitempty"` // from the start of a step to its end
}

// Churn lets idle clients leave and others (of new keys) come, while the groups go on.
type Churn struct {
	PerSecond float64 `json:"per_second"`
}

// Cut resets the connections of a part of the idle clients at once and lets all of them log in
// again as fast as they are let.
type Cut struct {
	After time.Duration `json:"after_ns"` // from the start of the measured window
	Share float64       `json:"share"`    // of the idle clients, 0 to 1
}

// STUN asks for addresses over UDP beside, or instead of, DERP.
type STUN struct {
	Port  int     `json:"port"`
	Share float64 `json:"share,omitempty"` // of Step.Rate, as in Group
	Rate  float64 `json:"rate,omitempty"`  // requests a second; both 0: as fast as answers come
	// Sockets is how many senders there are, each with a port of its own.
	Sockets int `json:"sockets"`
}

// Clients is how many clients the workload logs in.
func (w *Workload) Clients() int {
	n := w.Idle
	for i := range w.Groups {
		n += w.Groups[i].Clients()
	}
	return n
}
