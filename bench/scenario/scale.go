package scenario

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"derpd/bench/runner"
)

// Scale is a list of scenarios for a purpose.
type Scale struct {
	Name, Text string
	Scenarios  []runner.Scenario
}

// size is what scales differ in.
type size struct {
	rounds  int
	few     int           // rounds of what takes 10 to 30 s a peer
	heavy   int           // rounds of scenarios that take a minute a peer
	window  time.Duration // of a step
	clients int           // of idle and growth
	settle  time.Duration // between the last login and the look at memory
	cut     int           // clients of a storm
	vast    int           // clients of what holds more than it may open files
	vastCut int           // clients of a storm there
}

// Scales lists all.
func Scales() []Scale {
	quick := size{rounds: 3, few: 1, heavy: 1, window: 1500 * time.Millisecond, clients: 1000,
		settle: 5 * time.Second}
	full := size{rounds: 5, few: 2, heavy: 1, window: 2 * time.Second, clients: 15_000,
		settle: 30 * time.Second, cut: 10_000, vast: 100_000, vastCut: 50_000}
	gate := size{rounds: 5, window: 2 * time.Second}
	return []Scale{
		{"quick", "bulk, chatter, idle clients and overload, in minutes", []runner.Scenario{
			bulk(quick, false), chatter(quick), idle(quick), overload(quick, false, 8)}},
		{"full", "everything, in less than 45 minutes if most peers are in a part", []runner.Scenario{
			knee(full, false, 1), bulk(full, false), bulk(full, true), latency(full),
			knee(full, true, 1), knee(full, false, 8),
			overload(full, false, 1), overload(full, true, 1), crowd(full), many(full), vast(full),
			storm(full), vastStorm(full), stun(full), loops(full)}},
		{"gate", "only what is counted, which the speed of a machine does not change",
			[]runner.Scenario{counts(gate, false), counts(gate, true)}},
	}
}

// Find returns the scale of a name.
func Find(name string) (*Scale, error) {
	var names []string
	all := Scales()
	for i := range all {
		if all[i].Name == name {
			return &all[i], nil
		}
		names = append(names, all[i].Name)
	}
	return nil, fmt.Errorf("no scale is named %q; there are: %s", name, strings.Join(names, ", "))
}

// Only keeps the scenarios of these names, and is an error if one does not exist.
func (s *Scale) Only(names []string) error {
	var kept []runner.Scenario
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("scenario %q is named twice", name)
		}
		found := false
		for i := range s.Scenarios {
			if s.Scenarios[i].Name == name {
				kept, found = append(kept, s.Scenarios[i]), true
			}
		}
		if !found {
			var all []string
			for i := range s.Scenarios {
				all = append(all, s.Scenarios[i].Name)
			}
			return fmt.Errorf("scale %s has no scenario %q; it has: %s", s.Name, name,
				strings.Join(all, ", "))
		}
	}
	s.Scenarios = kept
	return nil
}
