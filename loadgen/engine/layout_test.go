package engine

import (
	"net/netip"
	"strings"
	"testing"

	"derpd/loadgen"
)

func group(change func(*loadgen.Group)) loadgen.Group {
	g := loadgen.Group{Name: "g", Senders: 4, Receivers: 2, Share: 1, FramesPerWrite: 1,
		Arrival: loadgen.Arrival{Kind: loadgen.Constant},
		Sizes:   []loadgen.Size{{Bytes: 100, Weight: 1}}}
	if change != nil {
		change(&g)
	}
	return g
}

func jobWith(targets int, idle int, groups ...loadgen.Group) loadgen.Job {
	j := loadgen.Job{Workload: loadgen.Workload{Idle: idle, Groups: groups}}
	for i := range targets {
		j.Targets = append(j.Targets, loadgen.Target{
			Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i)}), 443)})
	}
	return j
}

func TestLayoutPlacesBothEnds(t *testing.T) {
	for _, tc := range []struct {
		name   string
		across bool
		same   bool
	}{{"same node", false, true}, {"across nodes", true, false}} {
		l, err := newLayout(jobWith(3, 5, group(func(g *loadgen.Group) {
			g.AcrossNodes, g.BothWays = tc.across, true
		})))
		if err != nil {
			t.Fatal(err)
		}
		if len(l.clients) != 11 || len(l.flows) != 8 {
			t.Fatalf("%s: %d clients and %d flows, want 11 and 8", tc.name, len(l.clients), len(l.flows))
		}
		incoming := map[int32]int{}
		for _, f := range l.flows {
			from, to := l.clients[f.from], l.clients[f.to]
			if (from.target == to.target) != tc.same {
				t.Errorf("%s: a flow from node %d to node %d", tc.name, from.target, to.target)
			}
			if from.reader == to.reader || from.reader != f.back {
				t.Errorf("%s: a flow between two ends of one kind", tc.name)
			}
			incoming[f.to]++
		}
		for c, n := range incoming {
			if want := map[bool]int{true: 2, false: 1}[l.clients[c].reader]; n != want {
				t.Errorf("%s: client %d has %d flows to it, want %d", tc.name, c, n, want)
			}
		}
	}
}

func TestLayoutSpreadsSources(t *testing.T) {
	l, err := newLayout(jobWith(2, 50_000))
	if err != nil {
		t.Fatal(err)
	}
	type tuple struct {
		source int32
		target int16
	}
	used := map[tuple]int{}
	for _, c := range l.clients {
		used[tuple{c.source, c.target}]++
	}
	if len(l.sources) != 3 || len(used) != 6 {
		t.Errorf("%d sources and %d tuples, want 3 and 6", len(l.sources), len(used))
	}
	for k, n := range used {
		if n > clientsPerTupleMax || !l.sources[k.source].IsLoopback() {
			t.Errorf("%d clients from %v to relay %d, want at most %d", n, l.sources[k.source],
				k.target, clientsPerTupleMax)
		}
	}
}

func TestLayoutRefuses(t *testing.T) {
	remote := jobWith(1, 20_000)
	remote.Targets[0].Addr = netip.MustParseAddrPort("10.0.0.1:443")
	named := jobWith(1, 1)
	named.Options.Sources = []string{"here"}
	for want, job := range map[string]loadgen.Job{
		"no relay":                 {Workload: loadgen.Workload{Idle: 1}},
		"has no clients":           jobWith(1, 0),
		"no receiver":              jobWith(1, 0, group(func(g *loadgen.Group) { g.Receivers = 9 })),
		"65 frames a write":        jobWith(1, 0, group(func(g *loadgen.Group) { g.FramesPerWrite = 65 })),
		"one of them must be 0":    jobWith(1, 0, group(func(g *loadgen.Group) { g.Rate = 1 })),
		"neither may be negative":  jobWith(1, 0, group(func(g *loadgen.Group) { g.Share = -1 })),
		"a patience of -1ns":       jobWith(1, 0, group(func(g *loadgen.Group) { g.Patience = -1 })),
		"no packet sizes":          jobWith(1, 0, group(func(g *loadgen.Group) { g.Sizes = nil })),
		"packets of 31 bytes":      jobWith(1, 0, group(func(g *loadgen.Group) { g.Sizes[0].Bytes = 31 })),
		"need 2 source addresses":  remote,
		`source "here" is no`:      named,
		"packets of 65537 bytes":   jobWith(1, 0, group(func(g *loadgen.Group) { g.Sizes[0].Bytes = 65537 })),
		"choose 62 to 65536 bytes": jobWith(1, 0, group(func(g *loadgen.Group) { g.Sizes[0] = loadgen.Size{Bytes: 61, Weight: 1, Disco: true} })),
		"arrival kind":             jobWith(1, 0, group(func(g *loadgen.Group) { g.Arrival.Kind = "now" })),
		"with weight 0":            jobWith(1, 0, group(func(g *loadgen.Group) { g.Sizes[0].Weight = 0 })),
	} {
		if _, err := newLayout(job); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("newLayout says %v, want %q", err, want)
		}
	}
}
