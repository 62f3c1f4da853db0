package report

import (
	"cmp"
	"fmt"
	"slices"

	"derpd/loadgen"
	"derpd/loadgen/plotting"
	"derpd/loadgen/units"
)

// loginChart is how long logins took; nil if that is not known.
func loginChart(ramp *loadgen.RampResult) *plotting.Chart {
	points := plotting.Percentiles(ramp.Login)
	if points == nil {
		return nil
	}
	return &plotting.Chart{Title: "Time of a login",
		X:      plotting.Axis{Label: "share of logins", Scale: plotting.Tail},
		Y:      plotting.Axis{Label: "at most", Scale: plotting.Log, Format: units.Nanos},
		Series: []plotting.Series{{Name: "from connect to ServerInfo", Points: points}}}
}

// memoryChart is memory over clients.
func memoryChart(points []MemoryPoint) plotting.Chart {
	user := plotting.Series{Name: "relay", Markers: true}
	both := plotting.Series{Name: "relay and kernel", Markers: true}
	for _, p := range points {
		x := float64(p.Clients)
		user.Points = append(user.Points, plotting.Point{X: x, Y: float64(p.UserBytes)})
		if p.KernelBytes > 0 {
			both.Points = append(both.Points,
				plotting.Point{X: x, Y: float64(p.UserBytes + p.KernelBytes)})
		}
	}
	return plotting.Chart{Title: "Memory over clients",
		X:      plotting.Axis{Label: "clients", Zero: true},
		Y:      plotting.Axis{Label: "memory", Zero: true, Format: units.Bytes},
		Series: []plotting.Series{user, both}}
}

// load is what a step offered, in packets a second.
func load(s *loadgen.StepResult) float64 {
	if s.Window <= 0 {
		return 0
	}
	return float64(whole(s).Due) / s.Window.Seconds()
}

// loadCharts are latency, throughput and processor time over load.
func loadCharts(steps []*loadgen.StepResult) []plotting.Chart {
	steps = slices.SortedStableFunc(slices.Values(steps), func(a, b *loadgen.StepResult) int {
		return cmp.Compare(load(a), load(b))
	})
	offered := plotting.Axis{Label: "packets due a second", Zero: true}
	over := func(name string, value func(*loadgen.StepResult) float64) plotting.Series {
		line := plotting.Series{Name: name, Markers: true}
		for _, s := range steps {
			line.Points = append(line.Points, plotting.Point{X: load(s), Y: value(s)})
		}
		return line
	}
	at := func(percent float64) func(*loadgen.StepResult) float64 {
		return func(s *loadgen.StepResult) float64 { return float64(whole(s).Latency.At(percent)) }
	}
	rate := func(n func(loadgen.GroupResult) uint64) func(*loadgen.StepResult) float64 {
		return func(s *loadgen.StepResult) float64 {
			return float64(n(whole(s))) / max(s.Window.Seconds(), 1e-9)
		}
	}
	all := over("due", load)
	all.Markers, all.Dashed = false, true
	cpu := func(t func(*loadgen.StepResult) loadgen.CPU) func(*loadgen.StepResult) float64 {
		return func(s *loadgen.StepResult) float64 {
			// Without packets it is no number, and is left out.
			return float64(t(s).Sum()) / float64(whole(s).Delivered)
		}
	}
	return []plotting.Chart{
		{Title: "Latency over load", X: offered,
			Y:      plotting.Axis{Label: "from due time", Scale: plotting.Log, Format: units.Nanos},
			Series: []plotting.Series{over("p50", at(50)), over("p99", at(99)), over("p99.9", at(99.9))}},
		{Title: "Throughput over load", X: offered,
			Y: plotting.Axis{Label: "packets a second", Zero: true},
			Series: []plotting.Series{all,
				over("sent", rate(func(g loadgen.GroupResult) uint64 { return g.Sent })),
				over("delivered", rate(func(g loadgen.GroupResult) uint64 { return g.Delivered }))}},
		{Title: "CPU a packet over load", X: offered,
			Y: plotting.Axis{Label: "CPU a packet", Zero: true, Format: units.Nanos},
			Series: []plotting.Series{over("relay", cpu(relayCPU)), over("loadgen",
				cpu(func(s *loadgen.StepResult) loadgen.CPU { return s.Slack.CPU }))}},
	}
}

// stepCharts are throughput and latency over time, and the distribution of latency.
func stepCharts(s *loadgen.StepResult) (charts []plotting.Chart) {
	if len(s.Series) > 1 {
		charts = append(charts, throughputChart(s), latencyChart(s))
	}
	spread := plotting.Chart{Title: "Distribution of latency",
		X: plotting.Axis{Label: "share of packets", Scale: plotting.Tail},
		Y: plotting.Axis{Label: "at most", Scale: plotting.Log, Format: units.Nanos}}
	for i := range s.Groups {
		g := &s.Groups[i]
		if points := plotting.Percentiles(g.Latency); points != nil &&
			len(spread.Series) < linesPerChartMax {
			spread.Series = append(spread.Series, plotting.Series{Name: g.Name, Points: points})
		}
	}
	if s.STUN != nil {
		spread.Series = append(spread.Series, plotting.Series{Name: "STUN",
			Points: plotting.Percentiles(s.STUN.Latency)})
	}
	if lag := plotting.Percentiles(s.Slack.Lag); lag != nil {
		spread.Series = append(spread.Series, plotting.Series{Name: "lag of sends", Points: lag,
			Dashed: true})
	}
	return append(charts, spread)
}

var overTime = plotting.Axis{Label: "time in the window", Zero: true,
	Format: func(v float64) string { return units.Digits(v, 4) + " s" }}

func throughputChart(s *loadgen.StepResult) plotting.Chart {
	due := plotting.Series{Name: "due", Dashed: true}
	sent := plotting.Series{Name: "sent"}
	delivered := plotting.Series{Name: "delivered"}
	before := 0.0
	for _, sample := range s.Series {
		x := sample.At.Seconds()
		rate := func(n uint64) plotting.Point {
			return plotting.Point{X: x, Y: float64(n) / (x - before)}
		}
		due.Points = append(due.Points, rate(sample.Due))
		sent.Points = append(sent.Points, rate(sample.Sent))
		delivered.Points = append(delivered.Points, rate(sample.Delivered))
		before = x
	}
	return plotting.Chart{Title: "Throughput over time", X: overTime,
		Y:      plotting.Axis{Label: "packets a second", Zero: true},
		Series: []plotting.Series{due, sent, delivered}}
}

func latencyChart(s *loadgen.StepResult) plotting.Chart {
	p50, p99 := plotting.Series{Name: "p50"}, plotting.Series{Name: "p99"}
	for _, sample := range s.Series {
		x := sample.At.Seconds()
		p50.Points = append(p50.Points, plotting.Point{X: x, Y: float64(sample.P50)})
		p99.Points = append(p99.Points, plotting.Point{X: x, Y: float64(sample.P99)})
	}
	return plotting.Chart{Title: "Latency over time", X: overTime,
		Y:      plotting.Axis{Label: "from due time", Scale: plotting.Log, Format: units.Nanos},
		Series: []plotting.Series{p50, p99}}
}

// stepsWithoutCharts says how many steps have none.
func stepsWithoutCharts(n int) []string {
	if n <= stepChartsMax {
		return nil
	}
	return []string{fmt.Sprintf("Charts over time are drawn for the first %d of %d steps; the JSON "+
		"report has all.", stepChartsMax, n)}
}
