package bench

import (
	"slices"
	"strings"
	"time"

	"derpd/loadgen/host"
)

// Format is the version of the JSON that this package reads and writes.
const Format = 1

// Report is one run of scenarios on peers. Everything that a page or a comparison shows follows
// from it.
type Report struct {
	Format  int          `json:"format"`
	Kind    string       `json:"kind"` // always "bench"
	Time    time.Time    `json:"time"`
	Command string       `json:"command"`
	Version string       `json:"version"`          // of bench
	Commit  string       `json:"commit,omitempty"` // that was measured
	Go      string       `json:"go"`               // toolchain of bench
	Machine host.Machine `json:"machine"`
	Scale   string       `json:"scale"` // how large the scenarios were
	CPU     int          `json:"cpu"`   // the relay's processor; negative: any
	// Reference is the peer that ratios are of; empty: none.
	Reference string `json:"reference,omitempty"`
	// KneeTLS is what the reference delivered at most with one frame a write over TLS, packets a
	// second. Loads of scenarios are shares of it; 0: none needed it.
	KneeTLS float64  `json:"knee_tls,omitempty"`
	Peers   []Peer   `json:"peers"`
	Results []Result `json:"results"`
	Notes   []string `json:"notes,omitempty"` // what could not be measured on this machine, and why
	Partial bool     `json:"partial,omitempty"`
}

// Peer is a relay that takes derper's flags.
type Peer struct {
	Name   string   `json:"name"`
	Path   string   `json:"path"`
	Args   []string `json:"args,omitempty"`     // behind derper's flags
	Plain  bool     `json:"plain,omitempty"`    // cannot do TLS: gets TCP in every scenario
	NoSTUN bool     `json:"no_stun,omitempty"`  // has no results of scenarios of STUN
	URing  bool     `json:"io_uring,omitempty"` // is left out where that is refused
	// NoFiles is one that opens no file for a connection, and may hold more than it may open.
	NoFiles bool     `json:"no_files,omitempty"`
	Only    []string `json:"only,omitempty"`   // scenarios it is in; empty: all
	Digest  string   `json:"digest,omitempty"` // beginning of the binary's SHA-256, hexadecimal
	// Version is the Go module version and toolchain the binary was built from, if it tells.
	Version string `json:"version,omitempty"`
}

// Result is one peer in one scenario.
type Result struct {
	Scenario string `json:"scenario"`
	Peer     string `json:"peer"`
	// Error says why it has no figures, or not of all rounds, or what the relay failed to do.
	Error   string   `json:"error,omitempty"`
	Remarks []string `json:"remarks,omitempty"` // what was odd about figures that it has
	Figures []Figure `json:"figures,omitempty"`
	Rounds  []Round  `json:"rounds,omitempty"`
}

// Figure is a measure at one load of a scenario: a sample for each round that was used.
type Figure struct {
	At      string  `json:"at,omitempty"` // the load; empty: the scenario has one
	Measure string  `json:"measure"`
	Load    float64 `json:"load,omitempty"` // packets due a second; 0: full speed or no packets
	// Found tells that the load was searched for, as a knee is; reports of before do not say it.
	Found   bool      `json:"found,omitempty"`
	Samples []float64 `json:"samples"` // in the measure's unit
	Rounds  []int     `json:"rounds"`  // of the samples
	// Limited says why the generator was the limit in one of them.
	Limited string `json:"limited,omitempty"`
}

// Round is one turn of a peer in a scenario.
type Round struct {
	Number  int     `json:"number"`  // from 1
	Attempt int     `json:"attempt"` // from 1: disturbed ones are repeated
	Steal   float64 `json:"steal"`   // share of the machine that the hypervisor gave to others
	Other   float64 `json:"other"`   // share that other processes used
	Used    bool    `json:"used"`
}

// Note is one of Notes, about a peer.
func Note(peer, text string) string { return peer + ": " + text }

// Lacks tells whether a note says that something of a peer could not be measured on this machine.
func (r *Report) Lacks(peer string) bool {
	return slices.ContainsFunc(r.Notes, func(note string) bool {
		return strings.HasPrefix(note, Note(peer, ""))
	})
}

// Peer returns the peer of a name, nil if there is none.
func (r *Report) Peer(name string) *Peer {
	for i := range r.Peers {
		if r.Peers[i].Name == name {
			return &r.Peers[i]
		}
	}
	return nil
}

// Result returns what came of a peer in a scenario, nil if it was not in it.
func (r *Report) Result(scenario, peer string) *Result {
	for i := range r.Results {
		if r.Results[i].Scenario == scenario && r.Results[i].Peer == peer {
			return &r.Results[i]
		}
	}
	return nil
}

// Scenarios lists the names in the order of their first result.
func (r *Report) Scenarios() (names []string) {
	seen := map[string]bool{}
	for i := range r.Results {
		if name := r.Results[i].Scenario; !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

// Figure returns the figure of a measure at a load, nil if there is none. It may be called for a
// nil Result.
func (r *Result) Figure(at, measure string) *Figure {
	if r == nil {
		return nil
	}
	for i := range r.Figures {
		if r.Figures[i].At == at && r.Figures[i].Measure == measure {
			return &r.Figures[i]
		}
	}
	return nil
}

// Failed tells whether a peer failed in a scenario.
func (r *Report) Failed() bool {
	for i := range r.Results {
		if r.Results[i].Error != "" {
			return true
		}
	}
	return false
}
