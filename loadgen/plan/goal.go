package plan

import (
	"fmt"
	"math"
	"time"

	"derpd/loadgen"
)

// Goal is what all hosts together shall carry. What is 0 is not asked for, or has a default.
type Goal struct {
	Clients          int           `json:"clients"`
	PacketsPerSecond float64       `json:"packets_per_second"`
	Active           float64       `json:"active"`           // share of clients that talk; 0: 0.1
	P99              time.Duration `json:"p99_ns"`           // bound of latency; 0: 20 ms
	LoginsWithin     time.Duration `json:"logins_within_ns"` // all, after a cut; 0: 60 s
}

// complete fills in defaults and refuses what makes no sense.
func (g Goal) complete() (Goal, error) {
	if g.Clients < 0 || g.PacketsPerSecond < 0 || math.IsNaN(g.PacketsPerSecond) ||
		math.IsInf(g.PacketsPerSecond, 0) {
		return g, fmt.Errorf("plan: a goal of %d clients and %g packets a second: "+
			"neither may be below 0 or without end", g.Clients, g.PacketsPerSecond)
	}
	if !(g.Active >= 0 && g.Active <= 1) {
		return g, fmt.Errorf("plan: a share of %g active clients: want 0 to 1", g.Active)
	}
	if g.P99 < 0 || g.LoginsWithin < 0 {
		return g, fmt.Errorf("plan: a p99 of %v, logins within %v: times below 0", g.P99,
			g.LoginsWithin)
	}
	if g.Active == 0 {
		g.Active = activeDefault
	}
	if g.P99 == 0 {
		g.P99 = p99Default
	}
	if g.LoginsWithin == 0 {
		g.LoginsWithin = withinDefault
	}
	return g, nil
}

// workload makes one for the test: pairs that talk both ways, and the rest silent. Sizes are
// disco, small and full packets with a mean of 570 bytes.
func (g *Goal) workload(budget time.Duration, clients int) loadgen.Workload {
	if clients == 0 {
		clients = min(clientsMax, int(budget.Seconds()*clientsPerSecond))
		if g.Clients > 0 {
			clients = min(clients, g.Clients)
		}
	}
	clients = max(clients, clientsMin)
	pairs := min(max(int(float64(clients)*g.Active/2), 1), clients/2)
	return loadgen.Workload{Name: "plan", Idle: clients - 2*pairs, Groups: []loadgen.Group{{
		Name: "talk", Senders: pairs, Receivers: pairs, BothWays: true, Share: 1,
		Arrival: loadgen.Arrival{Kind: loadgen.Poisson}, FramesPerWrite: 1,
		Sizes: []loadgen.Size{{Bytes: 100, Weight: 15, Disco: true}, {Bytes: 120, Weight: 45},
			{Bytes: 1252, Weight: 40}},
	}}}
}

// hasShare tells whether a workload's rate can be set by a step.
func hasShare(w *loadgen.Workload) bool {
	for i := range w.Groups {
		if w.Groups[i].Share > 0 {
			return true
		}
	}
	return false
}
