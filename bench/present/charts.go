package present

import (
	"strconv"
	"strings"

	"derpd/bench"
	"derpd/loadgen/plotting"
	"derpd/loadgen/units"
)

// charts are those of a scenario whose figures follow a load.
func charts(r *bench.Report, name string) (list []plotting.Chart) {
	load := plotting.Axis{Label: "packets due a second", Zero: true}
	nanos := func(label string, scale plotting.Scale) plotting.Axis {
		return plotting.Axis{Label: label, Scale: scale, Format: units.Nanos}
	}
	cpu := plotting.Chart{Title: name + ": CPU a packet over load", X: load,
		Y: plotting.Axis{Label: "CPU a packet", Zero: true, Format: units.Nanos}}
	median := plotting.Chart{Title: name + ": median latency over load", X: load,
		Y: nanos("from due time", plotting.Log)}
	tail := plotting.Chart{Title: name + ": p99 over load", X: load,
		Y: nanos("from due time", plotting.Log)}
	good := plotting.Chart{Title: name + ": what is left of the knee under overload",
		X: plotting.Axis{Label: "due, as a multiple of the knee", Scale: plotting.Log, Format: by},
		Y: plotting.Axis{Label: "delivered, as a share of the knee", Zero: true,
			Format: units.Percent}}
	for i := range r.Peers {
		res := r.Result(name, r.Peers[i].Name)
		if res == nil {
			continue
		}
		for chart, measure := range map[*plotting.Chart]string{&cpu: bench.CPU, &median: bench.P50,
			&tail: bench.P99} {
			chart.Series = append(chart.Series, overLoad(res, measure))
		}
		good.Series = append(good.Series, overMultiple(res))
	}
	for _, chart := range []plotting.Chart{cpu, median, tail, good} {
		if drawn(chart) {
			list = append(list, chart)
		}
	}
	return list
}

// drawn tells whether a chart has a line, and not only points.
func drawn(c plotting.Chart) bool {
	for i := range c.Series {
		for _, p := range c.Series[i].Points {
			if p.X != c.Series[i].Points[0].X {
				return true
			}
		}
	}
	return false
}

// overLoad is a peer's line of a measure of times, in µs, over the load.
func overLoad(res *bench.Result, measure string) plotting.Series {
	s := plotting.Series{Name: res.Peer, Markers: true}
	for i := range res.Figures {
		f := &res.Figures[i]
		if f.Measure == measure && f.Load > 0 {
			s.Points = append(s.Points, plotting.Point{X: f.Load, Y: 1e3 * f.Summary().Median})
		}
	}
	return s
}

// overMultiple is a peer's goodput over how much more than its knee was due: loads are named 2x.
func overMultiple(res *bench.Result) plotting.Series {
	s := plotting.Series{Name: res.Peer, Markers: true}
	for i := range res.Figures {
		f := &res.Figures[i]
		times, ok := multiple(f.At)
		if ok && f.Measure == bench.Goodput {
			s.Points = append(s.Points, plotting.Point{X: times, Y: f.Summary().Median})
		}
	}
	return s
}

func multiple(at string) (float64, bool) {
	digits, ok := strings.CutSuffix(at, "x")
	v, err := strconv.ParseFloat(digits, 64)
	return v, ok && err == nil && v > 0
}

func by(v float64) string { return units.Digits(v, 3) + "×" }
