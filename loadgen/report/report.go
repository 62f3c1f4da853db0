package report

import (
	"encoding/json"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/host"
)

// Format is the number of the JSON form that Write writes and Read accepts. It changes when an
// older program would misread a newer report.
const Format = 1

// Kind says what a report is of.
type Kind string

// The kinds of reports.
const (
	Run  Kind = "run"  // a workload at one rate, or at several in turn
	Plan Kind = "plan" // a search for what a host carries
)

// Report is what is kept of a run.
type Report struct {
	Format  int       `json:"format"` // set by Write
	Kind    Kind      `json:"kind"`
	Time    time.Time `json:"time"`    // when it began
	Command string    `json:"command"` // as it was typed
	Version string    `json:"version"` // of the program
	// Host and Machine are where the generator ran: the host's name and what it is.
	Host    string       `json:"host"`
	Machine host.Machine `json:"machine"`

	Job   loadgen.Job           `json:"job"`
	Ramp  *loadgen.RampResult   `json:"ramp,omitempty"`
	Steps []*loadgen.StepResult `json:"steps,omitempty"`
	// Memory is the relay's memory at several numbers of clients, if it was measured.
	Memory []MemoryPoint `json:"memory,omitempty"`
	// Plan is the result of a plan, in the form of its own room.
	Plan json.RawMessage `json:"plan,omitempty"`

	// Merged are the runs that were added up to this one; Host and Machine are of the first.
	Merged []Origin `json:"merged,omitempty"`

	Partial bool `json:"partial,omitempty"` // it was interrupted
	// Error says why the run could not be made; empty: it was.
	Error string `json:"error,omitempty"`
	// Incidents are what went wrong that the figures do not say, such as that the relay died. Each
	// of them fails the run.
	Incidents []string `json:"incidents,omitempty"`
	// Failed says why the run fails, and Limited why its figures are no capacity of the relay. Judge
	// sets both.
	Failed  []string `json:"failed,omitempty"`
	Limited string   `json:"limited,omitempty"`
}

// MemoryPoint is the relay's memory with a number of clients logged in.
type MemoryPoint struct {
	Clients     int   `json:"clients"`
	UserBytes   int64 `json:"user_bytes"`   // resident, of the relay's processes
	KernelBytes int64 `json:"kernel_bytes"` // slabs and socket buffers; 0: not known
}

// Origin is a run that became part of a merged one.
type Origin struct {
	Host    string       `json:"host"`
	Machine host.Machine `json:"machine"`
	Time    time.Time    `json:"time"`
	Command string       `json:"command"`
	Version string       `json:"version"`
	// Seed and Part say which keys its clients had; Seed 0: not known.
	Seed uint64 `json:"seed,omitempty"`
	Part int    `json:"part,omitempty"`
}

// The exit codes of a command that made a report.
const (
	ExitOK      = 0
	ExitFailed  = 1 // checks failed: see Failed
	ExitNotMade = 3 // nothing was measured: see Error
	ExitPartial = 4 // interrupted; what was measured passed
)

// ExitCode is what the process should end with, after Judge.
func (r *Report) ExitCode() int {
	switch {
	case r.Error != "" || !r.measured() && !r.Partial:
		return ExitNotMade
	case len(r.Failed) > 0:
		return ExitFailed
	case r.Partial:
		return ExitPartial
	}
	return ExitOK
}

// measured tells whether there is anything to show.
func (r *Report) measured() bool {
	return len(r.Steps) > 0 || len(r.Plan) > 0 || r.Ramp != nil && r.Ramp.Clients > 0
}
