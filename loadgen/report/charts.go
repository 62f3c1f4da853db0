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

// measured is a step with its groups added up, which is not cheap.
type measured struct {
	*loadgen.StepResult
	whole loadgen.GroupResult
}

// rate is n packets of the window, a second.
func (m *measured) rate(n uint64) float64 {
	return float64(n) / max(m.Window.Seconds(), 1e-9)
}

// load is what the step offered, in packets a second.
func (m *measured) load() float64 { return m.rate(m.whole.Due) }

// at is a percentile of latency.
func (m *measured) at(percent float64) float64 { return float64(m.whole.Latency.At(percent)) }

// each is processor time a packet. Without packets it is no number, and is left out.
func (m *measured) each(cpu loadgen.CPU) float64 {
	return float64(cpu.Sum()) / float64(m.whole.Delivered)
}

// loadCharts are latency, throughput and processor time over load.
func loadCharts(results []*loadgen.StepResult) []plotting.Chart {
	var steps []measured
	for _, s := range results {
		steps = append(steps, measured{s, whole(s)})
	}
	slices.SortStableFunc(steps, func(a, b measured) int { return cmp.Compare(a.load(), b.load()) })
	offered := plotting.Axis{Label: "packets due a second", Zero: true}
	over := func(name string, value func(*measured) float64) plotting.Series {
		line := plotting.Series{Name: name, Markers: true}
		for i := range steps {
			line.Points = append(line.Points,
				plotting.Point{X: steps[i].load(), Y: value(&steps[i])})
		}
		return line
	}
	due := over("due", (*measured).load)
	due.Markers, due.Dashed = false, true
	return []plotting.Chart{
		{Title: "Latency over load", X: offered,
			Y: plotting.Axis{Label: "from due time", Scale: plotting.Log, Format: units.Nanos},
			Series: []plotting.Series{
				over("p50", func(m *measured) float64 { return m.at(50) }),
				over("p99", func(m *measured) float64 { return m.at(99) }),
				over("p99.9", func(m *measured) float64 { return m.at(99.9) })}},
		{Title: "Throughput over load", X: offered,
			Y: plotting.Axis{Label: "packets a second", Zero: true},
			Series: []plotting.Series{due,
				over("sent", func(m *measured) float64 { return m.rate(m.whole.Sent) }),
				over("delivered", func(m *measured) float64 { return m.rate(m.whole.Delivered) })}},
		{Title: "CPU a packet over load", X: offered,
			Y: plotting.Axis{Label: "CPU a packet", Zero: true, Format: units.Nanos},
			Series: []plotting.Series{
				over("relay", func(m *measured) float64 { return m.each(relayCPU(m.StepResult)) }),
				over("loadgen", func(m *measured) float64 { return m.each(m.Slack.CPU) })}},
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
