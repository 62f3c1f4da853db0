package workloads

import (
	"fmt"
	"strings"
	"time"

	"derpd/loadgen"
)

// Params are what may be chosen of a workload. Zero values are the workload's own. Which of them a
// workload looks at, it says in Takes.
type Params struct {
	Clients int     // logged in, all together
	Active  float64 // share of the clients that talk, 0 to 1
	Pairs   int     // senders with a receiver each, senders (incast) or sockets (stun)
	Size    int     // bytes of a data packet
	Frames  int     // frames a write
	Port    int     // UDP port of STUN
}

// Parameters are the names of Params, in the order of its fields.
var Parameters = []string{"clients", "active", "pairs", "size", "frames", "stun-port"}

// Named is a workload that can be asked for by name.
type Named struct {
	Name  string
	Text  string   // what it is, and where its numbers come from
	Rate  float64  // packets a second by default; 0: as fast as TCP takes them
	Takes []string // the Parameters that it looks at
	build func(p Params) loadgen.Workload
	own   Params // defaults
}

// Packet sizes, as magicsock hands them to DERP. WireGuard pads to 16 bytes and adds 32 (its data
// message, section 5.4.6 of the paper); the tunnel's MTU is 1280 on every Tailscale client.
const (
	fullBytes   = 1280 + 32
	ackBytes    = 48 + 32               // an IPv4 TCP segment without data
	smallBytes  = 176 + 32              // DNS, an SSH keystroke, a small TLS record
	discoBytes  = 6 + 32 + 24 + 16 + 46 // a ping: magic, key, nonce, tag, message
	bulkBytes   = 1400                  // what derper and others were measured with
	bystanders  = 10                    // pairs whose latency tells whether others are hurt
	bystandRate = 1000.0                // their packets a second, all together
)

// mix is one talking device: bulk transfers with their acknowledgements, some small packets, and a
// disco ping every 3 s of a conversation (magicsock's heartbeat). The mean is 569 bytes.
var mix = []loadgen.Size{
	{Bytes: fullBytes, Weight: 0.375},
	{Bytes: ackBytes, Weight: 0.35},
	{Bytes: smallBytes, Weight: 0.175},
	{Bytes: discoBytes, Weight: 0.10, Disco: true},
}

// All lists the workloads in the order in which they are explained.
var All = []Named{
	{Name: "idle", own: Params{Clients: 1000}, Takes: []string{"clients"},
		Text: "Clients that are logged in and silent, as " +
			"most devices of a tailnet are most of the time: they only get the relay's keepalive, every " +
			"minute. What it measures is memory.",
		build: func(p Params) loadgen.Workload { return loadgen.Workload{Idle: p.Clients} }},
	{Name: "chatter", own: Params{Clients: 1000, Active: 0.1}, Rate: 1000,
		Takes: []string{"clients", "active"},
		Text: "Many silent " +
			"clients and some that talk in pairs, both ways, on for 2 s and off for 8 s on average, as " +
			"people and cron jobs do. Packets are WireGuard's of 1312, 80 and 208 bytes (a full one at " +
			"the tunnel's MTU of 1280, a TCP acknowledgement, something small) and disco pings of 124 " +
			"bytes, which magicsock sends every 3 s of a conversation; the mean is 569 bytes.",
		build: chatter},
	{Name: "bulk", own: Params{Pairs: 10, Size: bulkBytes, Frames: 1},
		Takes: []string{"clients", "pairs", "size", "frames"},
		Text: "Pairs at full speed, " +
			"or at a rate: one frame in a record and one record in a write, as real clients send. " +
			"-frames 8 is a sender that gathers.",
		build: func(p Params) loadgen.Workload {
			return loadgen.Workload{Idle: rest(p, 2*p.Pairs), Groups: []loadgen.Group{pairs(p, "pairs")}}
		}},
	{Name: "incast", own: Params{Pairs: 20, Size: bulkBytes, Frames: 1},
		Takes: []string{"clients", "pairs", "size", "frames"},
		Text: "Many senders at full " +
			"speed to one receiver, as nightly backups to one server; 10 other pairs at 100 packets a " +
			"second each show whether anybody else is hurt.", build: incast},
	{Name: "slow-reader", own: Params{Size: bulkBytes}, Rate: 2000,
		Takes: []string{"clients", "size", "frames"},
		Text: "One client that takes 64 " +
			"KiB a second (a phone in a lift) of what a sender has for it, and one that takes nothing, " +
			"beside 10 pairs that read. What is sent to slow ones must be dropped there and nowhere else.",
		build: slowReader},
	{Name: "flood", own: Params{Size: bulkBytes, Frames: 8},
		Takes: []string{"clients", "size", "frames"},
		Text: "One client that sends all it can, " +
			"in writes of 8 frames, beside 10 pairs at 100 packets a second each.", build: flood},
	{Name: "churn", own: Params{Clients: 1000}, Rate: bystandRate, Takes: []string{"clients"},
		Text: "A hundredth of the clients " +
			"leaves every second and others come, as phones do that change networks; 10 pairs talk " +
			"meanwhile.", build: churn},
	{Name: "storm", own: Params{Clients: 1000}, Rate: bystandRate, Takes: []string{"clients"},
		Text: "All clients but 10 talking " +
			"pairs lose their connections at once, a second into the window, and come back as fast as " +
			"they are let: a relay's neighbour was restarted, or a link came back.", build: storm},
	{Name: "mesh", own: Params{Pairs: 10, Size: bulkBytes, Frames: 1},
		Takes: []string{"pairs", "size", "frames"},
		Text: "Pairs whose ends are on " +
			"different nodes of a region: name at least two relays that are meshed.",
		build: func(p Params) loadgen.Workload {
			g := pairs(p, "across")
			g.AcrossNodes = true
			return loadgen.Workload{Groups: []loadgen.Group{g}}
		}},
	{Name: "websocket", own: Params{Pairs: 10, Size: bulkBytes, Frames: 1},
		Takes: []string{"pairs", "size", "frames"},
		Text: "As bulk, in " +
			"WebSocket messages, as browsers do.",
		build: func(p Params) loadgen.Workload {
			return loadgen.Workload{Groups: []loadgen.Group{pairs(p, "pairs")}, WebSocket: true}
		}},
	{Name: "stun", own: Params{Pairs: 16, Port: 3478}, Rate: 10000,
		Takes: []string{"pairs", "stun-port"},
		Text: "Binding requests over UDP " +
			"from a number of sockets. A client asks each region every 20 to 26 s, so 100,000 clients " +
			"are some 5,000 a second. More than 1 % without an answer fail a run.",
		build: func(p Params) loadgen.Workload {
			return loadgen.Workload{STUN: &loadgen.STUN{Port: p.Port, Share: 1, Sockets: p.Pairs}}
		}},
}

// Find returns the workload of a name.
func Find(name string) (*Named, error) {
	var names []string
	for i := range All {
		if All[i].Name == name {
			return &All[i], nil
		}
		names = append(names, All[i].Name)
	}
	return nil, fmt.Errorf("no workload is named %q; there are: %s", name, strings.Join(names, ", "))
}

// Build makes the workload with these parameters; rate is 0 for full speed where that is possible.
func (n *Named) Build(p Params, rate float64) (loadgen.Workload, error) {
	p = n.defaults(p)
	if err := p.check(); err != nil {
		return loadgen.Workload{}, fmt.Errorf("workload %s: %w", n.Name, err)
	}
	w := n.build(p)
	w.Name = n.Name
	for i := range w.Groups {
		if g := &w.Groups[i]; rate == 0 && g.Share > 0 {
			g.Share = 0
		}
	}
	if w.STUN != nil && rate == 0 {
		w.STUN.Share = 0
	}
	return w, nil
}

// defaults fills in what was not chosen.
func (n *Named) defaults(p Params) Params {
	for _, f := range []struct{ value, own *int }{{&p.Clients, &n.own.Clients},
		{&p.Pairs, &n.own.Pairs}, {&p.Size, &n.own.Size}, {&p.Frames, &n.own.Frames},
		{&p.Port, &n.own.Port}} {
		if *f.value == 0 {
			*f.value = *f.own
		}
	}
	if p.Active == 0 {
		p.Active = n.own.Active
	}
	return p
}

func (p *Params) check() error {
	switch {
	case p.Clients < 0 || p.Pairs < 0 || p.Frames < 0:
		return fmt.Errorf("%d clients, %d pairs, %d frames a write: none may be negative",
			p.Clients, p.Pairs, p.Frames)
	case p.Active < 0 || p.Active > 1:
		return fmt.Errorf("a share of %v of the clients cannot talk: choose 0 to 1", p.Active)
	case p.Port < 0 || p.Port > 65535:
		return fmt.Errorf("%d is no UDP port", p.Port)
	}
	return nil
}

// rest is how many clients stay silent when so many talk.
func rest(p Params, talking int) int { return max(0, p.Clients-talking) }

func pairs(p Params, name string) loadgen.Group {
	return loadgen.Group{Name: name, Senders: p.Pairs, Receivers: p.Pairs, Share: 1,
		Arrival:        loadgen.Arrival{Kind: loadgen.Constant},
		Sizes:          []loadgen.Size{{Bytes: p.Size, Weight: 1}},
		FramesPerWrite: max(p.Frames, 1)}
}

// bystand is the pairs that show whether others are hurt. They have the mix of chatter and a rate
// of their own, or that of the step where nobody else needs it.
func bystand(share float64) loadgen.Group {
	g := loadgen.Group{Name: "bystanders", Senders: bystanders, Receivers: bystanders,
		Arrival: loadgen.Arrival{Kind: loadgen.Poisson}, Sizes: mix, FramesPerWrite: 1}
	if share > 0 {
		g.Share = share
	} else {
		g.Rate = bystandRate
	}
	return g
}

func chatter(p Params) loadgen.Workload {
	n := int(float64(p.Clients)*p.Active) / 2
	if p.Active > 0 {
		n = max(n, 1)
	}
	w := loadgen.Workload{Idle: rest(p, 2*n)}
	if n > 0 {
		w.Groups = []loadgen.Group{{Name: "talkers", Senders: n, Receivers: n, BothWays: true,
			Share: 1, Arrival: loadgen.Arrival{Kind: loadgen.OnOff, On: 2 * time.Second,
				Off: 8 * time.Second}, Sizes: mix, FramesPerWrite: 1}}
	}
	return w
}

func incast(p Params) loadgen.Workload {
	g := pairs(p, "incast")
	g.Receivers = 1
	return loadgen.Workload{Idle: rest(p, p.Pairs+1+2*bystanders),
		Groups: []loadgen.Group{g, bystand(0)}}
}

func slowReader(p Params) loadgen.Workload {
	slow := pairs(p, "slow")
	slow.Senders, slow.Receivers, slow.Share = 1, 1, 0.5
	slow.Reading = loadgen.Reading{BytesPerSecond: 64 << 10}
	frozen := slow
	frozen.Name, frozen.Reading = "frozen", loadgen.Reading{Never: true}
	return loadgen.Workload{Idle: rest(p, 4+2*bystanders),
		Groups: []loadgen.Group{slow, frozen, bystand(0)}}
}

func flood(p Params) loadgen.Workload {
	g := pairs(p, "flood")
	g.Senders, g.Receivers = 1, 1
	return loadgen.Workload{Idle: rest(p, 2+2*bystanders), Groups: []loadgen.Group{g, bystand(0)}}
}

func churn(p Params) loadgen.Workload {
	return loadgen.Workload{Idle: rest(p, 2*bystanders), Groups: []loadgen.Group{besideLogins()},
		Churn: &loadgen.Churn{PerSecond: float64(p.Clients) / 100}}
}

// besideLogins is bystanders of clients that come and go, which cost the generator as much as the
// relay.
func besideLogins() loadgen.Group {
	g := bystand(1)
	g.OwnLoop = true
	return g
}

func storm(p Params) loadgen.Workload {
	return loadgen.Workload{Idle: rest(p, 2*bystanders), Groups: []loadgen.Group{besideLogins()},
		Cut: &loadgen.Cut{After: time.Second, Share: 1}}
}
