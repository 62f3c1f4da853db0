package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// Say tells how a run goes on, a line a call.
type Say func(format string, args ...any)

// Report is the machine-readable form of a run: one JSON object.
type Report struct {
	Bench    string    `json:"bench"` // idle, overload or rate
	Time     time.Time `json:"time"`
	Kernel   string    `json:"kernel"`
	CPUs     int       `json:"cpus"`
	Go       string    `json:"go"` // of the generator
	Peers    []Peer    `json:"peers"`
	Options  any       `json:"options"` // IdleOptions, OverloadOptions or RateOptions
	Results  any       `json:"results"` // a list of the Result type of the same name
	Verdicts []Verdict `json:"verdicts,omitempty"`
}

// NewReport fills in what is known before a run.
func NewReport(name string, peers []Peer, options any) *Report {
	r := &Report{Bench: name, Time: time.Now().UTC(), CPUs: runtime.NumCPU(),
		Go: runtime.Version(), Peers: peers, Options: options}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		r.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	return r
}

// JSON writes the report, indented.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Failed tells whether any peer failed or any verdict is negative.
func (r *Report) Failed() bool {
	for _, v := range r.Verdicts {
		if !v.Pass {
			return true
		}
	}
	return len(r.failures()) > 0
}

func (r *Report) failures() (list []string) {
	add := func(peer, err string) {
		if err != "" {
			list = append(list, peer+": "+err)
		}
	}
	switch all := r.Results.(type) {
	case []IdleResult:
		for _, x := range all {
			add(x.Peer, x.Error)
		}
	case []OverloadResult:
		for _, x := range all {
			add(x.Peer, x.Error)
		}
	case []RateResult:
		for _, x := range all {
			add(x.Peer, x.Error)
		}
	}
	return list
}

// Text writes the report as a table for people, then verdicts and failures.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  Linux %s  %d CPUs  %+v\n\n", r.Bench,
		r.Time.Format(time.RFC3339), r.Kernel, r.CPUs, r.Options)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	switch all := r.Results.(type) {
	case []IdleResult:
		idleTable(t, all)
	case []OverloadResult:
		for _, frames := range OverloadForms {
			overloadTable(t, all, frames)
		}
	case []RateResult:
		rateTable(t, all)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, v := range r.Verdicts {
		fmt.Fprintf(&b, "%s  %s\n", map[bool]string{true: "PASS", false: "FAIL"}[v.Pass], v.Text)
	}
	for _, f := range r.failures() {
		fmt.Fprintf(&b, "FAILED  %s\n", f)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// The last column of each table compares with the first peer, so that a glance down it tells
// how many times more the first delivers, or the others cost.

func idleTable(w io.Writer, all []IdleResult) {
	fmt.Fprintf(w, "peer\tRSS before\twith %d\tB/client\tkernel bufs\tslab B/conn\tgoroutines\t"+
		"login µs user\tsystem\tramp s\tsettle s\tanswered\tRSS÷%s\t\n",
		all[0].Clients, all[0].Peer)
	for _, x := range all {
		if x.RSSWith == 0 {
			fmt.Fprintf(w, "%s\tfailed\t\n", x.Peer)
			continue
		}
		fmt.Fprintf(w, "%s\t%.1f M\t%.1f M\t%.0f\t%.0f\t%.0f\t%d→%d\t%.0f\t%.0f\t%.1f\t%.0f%s\t"+
			"%d\t%s\t\n", x.Peer, mebi(x.RSSBefore), mebi(x.RSSWith), x.RSSPerClient, x.BuffersPerClient,
			x.SlabPerClient, x.GoroutinesBefore, x.GoroutinesWith, x.LoginUserMicros,
			x.LoginSystemMicros, x.RampSeconds, x.SettleSeconds,
			map[bool]string{true: "", false: " moving"}[x.Settled], x.Answered,
			ratio(x.RSSPerClient, all[0].RSSPerClient))
	}
}

func overloadTable(w io.Writer, all []OverloadResult, frames int) {
	var first *OverloadResult
	for i, x := range all {
		if x.Frames != frames {
			continue
		}
		if first == nil {
			first = &all[i]
			fmt.Fprintf(w, "%d a write\tpeak/s\tflood offered/s\tdelivered/s\tof peak\t"+
				"µs user\tsystem\tall\tCPUs\tother CPUs\t%s÷\t\n", frames, first.Peer)
		}
		if len(x.Floods) == 0 {
			fmt.Fprintf(w, "%s\tfailed\t\n", x.Peer)
			continue
		}
		s := x.Flood
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%s\t%.1f\t%.1f\t%.1f\t%.2f\t%.2f\t%s\t\n",
			x.Peer, x.Peak,
			s.Offered, s.Delivered, ratio(s.Delivered, x.Peak), s.UserMicros, s.SystemMicros,
			s.CPUMicros(), s.Busy, s.Others, ratio(first.Flood.Delivered, s.Delivered))
	}
	fmt.Fprintln(w, "\t")
}

func rateTable(w io.Writer, all []RateResult) {
	fmt.Fprintf(w, "peer\toffered/s\tdelivered/s\tµs user\tsystem\tall\tCPUs\tother CPUs\tp50 µs\t"+
		"p99 µs\tCPU÷%s\t\n", all[0].Peer)
	for _, x := range all {
		if len(x.Rounds) == 0 {
			fmt.Fprintf(w, "%s\tfailed\t\n", x.Peer)
			continue
		}
		s := x.Median
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.1f\t%.1f\t%.1f\t%.2f\t%.2f\t%.0f\t%.0f\t%s\t\n",
			x.Peer, s.Offered, s.Delivered, s.UserMicros, s.SystemMicros, s.CPUMicros(), s.Busy,
			s.Others, s.P50Micros, s.P99Micros,
			ratio(s.CPUMicros(), all[0].Median.CPUMicros()))
	}
}

func ratio(a, b float64) string {
	if b == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", a/b)
}

func mebi(n int64) float64 { return float64(n) / (1 << 20) }
