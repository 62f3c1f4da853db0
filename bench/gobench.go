package bench

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// GoBench writes the report in Go's benchmark format, which benchstat reads: a line for each round
// of a peer at a load of a scenario, named Bench/scenario=…/at=…/peer=…, with a value for each
// measure.
func GoBench(w io.Writer, r *Report) error {
	out := benchfmt.NewWriter(w)
	for i := range Measures {
		m := &Measures[i]
		meta := &benchfmt.UnitMetadata{OrigUnit: m.Unit, Value: "lower",
			UnitMetadataKey: benchfmt.UnitMetadataKey{Unit: m.Unit, Key: "better"}}
		if m.Higher {
			meta.Value = "higher"
		}
		if err := out.Write(meta); err != nil {
			return err
		}
	}
	for i := range r.Results {
		for _, line := range r.Results[i].lines() {
			line.Config = r.config()
			if err := out.Write(line); err != nil {
				return err
			}
		}
	}
	return nil
}

// config is what is equal for all lines.
func (r *Report) config() (list []benchfmt.Config) {
	for _, c := range []struct{ key, value string }{
		{"goos", "linux"}, {"goarch", r.Machine.Arch}, {"pkg", "derpd/bench"}, {"cpu", r.Machine.CPU},
		{"kernel", r.Machine.Kernel}, {"toolchain", r.Go}, {"bench", r.Version},
		{"commit", r.Commit}, {"scale", r.Scale},
	} {
		if value := strings.Join(strings.Fields(c.value), " "); value != "" {
			list = append(list, benchfmt.Config{Key: c.key, Value: []byte(value), File: true})
		}
	}
	return list
}

// lines are the rounds of one result, in the order of its figures.
func (r *Result) lines() (list []*benchfmt.Result) {
	type key struct {
		at    string
		round int
	}
	at := map[key]*benchfmt.Result{}
	for i := range r.Figures {
		f := &r.Figures[i]
		m, ok := Find(f.Measure)
		if !ok {
			continue
		}
		for k, v := range f.Samples {
			line := at[key{f.At, f.Rounds[k]}]
			if line == nil {
				line = &benchfmt.Result{Name: benchfmt.Name(r.lineName(f.At)), Iters: 1}
				at[key{f.At, f.Rounds[k]}] = line
				list = append(list, line)
			}
			line.Values = append(line.Values, benchfmt.Value{Value: v, Unit: m.Unit})
		}
	}
	return list
}

// lineName has no digits behind a last dash, which would be taken for GOMAXPROCS.
func (r *Result) lineName(at string) string {
	name := "/scenario=" + r.Scenario
	if at != "" {
		name += "/at=" + at
	}
	name += "/peer=" + r.Peer
	if i := strings.LastIndexByte(name, '-'); i >= 0 {
		if _, err := strconv.ParseUint(name[i+1:], 10, 64); err == nil {
			name += "/x"
		}
	}
	return fmt.Sprintf("Relay%s", name)
}
