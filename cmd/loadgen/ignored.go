package main

import (
	"flag"
	"fmt"
	"slices"

	"derpd/cmd/internal/commands"
	"derpd/loadgen"
	"derpd/loadgen/workloads"
)

// useless are flags that would change nothing, and why. Whoever gives one takes what is measured
// for something else, so it is refused.
type useless struct {
	when  bool
	flags []string
	why   string
}

// refuse is a misuse if the command line has a flag that would change nothing.
func (f *targetFlags) refuse(cases ...useless) error {
	for _, c := range cases {
		if name := f.given(c.flags...); c.when && name != "" {
			return commands.Misuse("-%s would change nothing: %s", name, c.why)
		}
	}
	return nil
}

// given is one of these flags that the command line has; empty: none of them.
func (f *targetFlags) given(names ...string) (first string) {
	f.flags.Visit(func(g *flag.Flag) {
		if first == "" && slices.Contains(names, g.Name) {
			first = g.Name
		}
	})
	return first
}

// checkTarget refuses flags of relays that are started where they run already, and the other way
// round.
func (f *jobFlags) checkTarget() error {
	return f.refuse(
		useless{f.launch != "", []string{"host", "allow-target", "metrics", "relay-pid"},
			"of a relay that -launch starts, name, address, metrics and process are known"},
		useless{f.launch == "", []string{"launch-args", "nodes", "relay-cpu"},
			"only relays that are started with -launch can be told how to run"},
		useless{f.plain, []string{"x25519"}, "with -plain there is no TLS"})
}

// checkWorkload refuses flags that a workload, as it was built, has no use for.
func (o *runOptions) checkWorkload(w *loadgen.Workload) error {
	scheduled := slices.ContainsFunc(w.Groups, func(g loadgen.Group) bool { return !g.FullSpeed() })
	kind := loadgen.ArrivalKind(o.kind)
	return o.refuse(
		useless{o.plan == "", []string{"share"}, "it is a part of the load that a -plan says"},
		useless{o.plan == "", unused(o.workload), fmt.Sprintf("workload %s has no use for it",
			o.workload)},
		useless{o.launch != "", []string{"stun-port"},
			"a relay that -launch starts has a port of its own for STUN"},
		useless{len(w.Groups) == 0 && w.STUN == nil, []string{"rate"},
			fmt.Sprintf("in workload %s nobody sends packets", w.Name)},
		useless{!scheduled, []string{"arrival", "patience"}, fmt.Sprintf("no packet has a time when "+
			"it is due, since workload %s has none, or sends at full speed (-rate 0)", w.Name)},
		useless{kind != loadgen.Bursts, []string{"burst"}, "it is for -arrival bursts"},
		useless{kind != loadgen.OnOff, []string{"on", "off"}, "it is for -arrival on-off"},
		useless{w.Clients() == 0, []string{"ask", "ramp", "logins-at-once", "login-timeout", "x25519",
			"fast-start", "sampled", "ahead"}, fmt.Sprintf("in workload %s nobody logs in", w.Name)})
}

// unused are the parameters that a named workload does not look at.
func unused(workload string) (names []string) {
	n, err := workloads.Find(workload)
	if err != nil {
		return nil // which has been told
	}
	for _, name := range workloads.Parameters {
		if !slices.Contains(n.Takes, name) {
			names = append(names, name)
		}
	}
	return names
}
