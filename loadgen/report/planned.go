package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"derpd/loadgen/plan"
	"derpd/loadgen/plotting"
	"derpd/loadgen/units"
)

// PlanSections shows what a plan found: what the host carries and what that rests on, how many
// hosts the goal needs, what to raise, and each step of the search, with plots.
func PlanSections(r *plan.Result) []Section {
	list := []Section{findings(r), hosts(r)}
	if len(r.Advice) > 0 {
		raise := Table{Left: 2}
		for _, a := range r.Advice {
			raise.Rows = append(raise.Rows, []string{a.Line, a.Why})
		}
		list = append(list, Section{Title: "To be raised", Tables: []Table{raise}})
	}
	return append(list, search(r))
}

func findings(r *plan.Result) Section {
	t := Table{Left: 2}
	fact := func(name, format string, args ...any) {
		t.Rows = append(t.Rows, []string{name, fmt.Sprintf(format, args...)})
	}
	p := &r.Planned
	fact("goal", "%s clients, %s packets/s, p99 within %s, all logged in %s after a cut",
		units.Count(r.Goal.Clients), units.Whole(r.Goal.PacketsPerSecond), units.Time(r.Goal.P99),
		units.Time(r.Goal.LoginsWithin))
	verified := "NOT verified"
	if p.Verified {
		verified = "verified for " + units.Time(p.VerifiedFor)
	}
	promise := "no p99 can be promised"
	if p.P99 > 0 {
		promise = "p99 within " + units.Time(p.P99)
	}
	fact("planned load", "%s%s packets/s, %s, %s: %s", atLeast(p.AtLeast), units.Whole(p.Rate),
		promise, verified, p.Why)
	fact("p99 seen there", "%s in %d steps, spread %s", units.Time(p.Seen), p.Repeats,
		units.Percent(p.Spread))
	fact("knee of latency", "%s", knee(&r.Latency))
	fact("knee of throughput", "%s", knee(&r.Throughput))
	if b := r.Beyond; b != nil {
		fact("beyond it", "%s: %s/s delivered of %s/s", b.Kind, units.Whole(b.Delivered),
			units.Whole(b.Rate))
	}
	if r.CorePackets > 0 {
		fact("one processor", "%s packets/s, extrapolated", units.Whole(r.CorePackets))
	}
	if m := r.Memory; m != nil {
		exact := ""
		if !m.KernelExact {
			exact = ", by all slabs of the machine"
		}
		fact("memory a client", "%s in the relay and %s in the kernel%s; the relay without clients "+
			"takes %s", units.Bytes(m.UserClient), units.Bytes(m.KernelClient), exact,
			units.Bytes(float64(m.Base)))
	}
	fact("logins", "%s%s/s: %s", atLeast(r.Logins.AtLeast), units.Whole(r.Logins.Planned),
		r.Logins.Why)
	fact("search", "%s of %s, with %s clients on this machine", units.Time(r.Took),
		units.Time(r.Budget), units.Count(r.Logins.Clients))
	s := Section{Title: "What this host carries", Tables: []Table{t}, Notes: r.Notes,
		Items: r.Logins.Failures.Lines()}
	if r.Partial {
		s.Lines = []string{"The search is not complete."}
	}
	if chart := planMemory(r); chart != nil {
		s.Charts = append(s.Charts, *chart)
	}
	return s
}

func atLeast(is bool) string {
	if is {
		return "at least "
	}
	return ""
}

func knee(k *plan.Knee) string {
	return atLeast(k.AtLeast) + units.Whole(k.Rate) + " packets/s: " + k.Why
}

func hosts(r *plan.Result) Section {
	h := &r.Hosts
	s := Section{Title: "Hosts for the goal"}
	if h.Count > 0 {
		s.Lines = []string{fmt.Sprintf("%s like this one, each for %s clients and %s packets/s; "+
			"decided by %s%s.", units.Count(h.Count), units.Count(h.Clients), units.Whole(h.Packets),
			h.Binding, unverified(r))}
	}
	t := Table{Head: []string{"by", "one host carries", "hosts"}}
	for _, n := range h.Needs {
		most := ""
		if n.AtMost {
			most = "at most "
		}
		t.Rows = append(t.Rows, []string{string(n.Constraint), units.Whole(n.PerHost),
			most + units.Count(n.Hosts)})
		s.Notes = append(s.Notes, string(n.Constraint)+": "+n.Rests)
	}
	if len(t.Rows) > 0 {
		s.Tables = []Table{t}
	}
	s.Notes = append(s.Notes, "First to break: "+r.Breaks)
	return s
}

// unverified is a warning where the number of hosts rests on a load that did not hold.
func unverified(r *plan.Result) string {
	if r.Hosts.Binding == plan.Packets && !r.Planned.Verified {
		return ", by a load that is NOT verified"
	}
	return ""
}

// search is a line for each step of the search.
func search(r *plan.Result) Section {
	t := Table{Head: []string{"step", "due/s", "delivered/s", "p50", "p99", "p99.9",
		"relay CPU/packet", "idle", "outcome"}}
	for i := range r.Steps {
		row := &r.Steps[i]
		cpu := none
		if row.CPUMicros > 0 {
			cpu = fmt.Sprintf("%.2f µs", row.CPUMicros)
		}
		t.Rows = append(t.Rows, []string{string(row.Purpose), units.Whole(row.Due),
			units.Whole(row.Delivered), units.Time(row.P50), units.Time(row.P99),
			units.Time(row.P999), cpu, units.Percent(row.Idle), outcome(row)})
	}
	return Section{Title: "The search", Tables: []Table{t}, Charts: searchCharts(r),
		Notes: []string{"idle: the generator's loops. behind: not all was delivered. late: the p99 " +
			"was beyond the bound. generator: it was the limit."}}
}

func outcome(row *plan.Row) string {
	switch {
	case row.Lost != "":
		return "clients lost"
	case row.Limited != "":
		return "generator"
	case !row.Carried:
		return "behind"
	case !row.Within:
		return "late"
	}
	return "ok"
}

// planMemory is memory over clients: as measured, and dashed what it makes of a planned host.
func planMemory(r *plan.Result) *plotting.Chart {
	m := r.Memory
	if m == nil || m.Clients <= 0 {
		return nil
	}
	line := func(name string, client float64, to int, dashed bool) plotting.Series {
		at := func(n int) plotting.Point {
			return plotting.Point{X: float64(n), Y: float64(m.Base) + client*float64(n)}
		}
		s := plotting.Series{Name: name, Points: []plotting.Point{at(0), at(to)}, Dashed: dashed,
			Markers: !dashed}
		if dashed {
			s.Points[0] = at(m.Clients)
		}
		return s
	}
	c := &plotting.Chart{Title: "Memory over clients",
		X: plotting.Axis{Label: "clients", Zero: true},
		Y: plotting.Axis{Label: "memory", Zero: true, Format: units.Bytes},
		Series: []plotting.Series{line("relay", m.UserClient, m.Clients, false),
			line("relay and kernel", m.UserClient+m.KernelClient, m.Clients, false)}}
	if n := r.Hosts.Clients; n > m.Clients {
		c.Series = append(c.Series,
			line("extrapolated", m.UserClient+m.KernelClient, n, true))
	}
	return c
}

// searchCharts are latency and delivery over load, with what was found in them, and the search over
// time.
func searchCharts(r *plan.Result) []plotting.Chart {
	rows := slices.SortedStableFunc(slices.Values(r.Steps), func(a, b plan.Row) int {
		return cmp.Compare(a.Due, b.Due)
	})
	over := func(name string, value func(*plan.Row) float64) plotting.Series {
		s := plotting.Series{Name: name, Markers: true}
		for i := range rows {
			s.Points = append(s.Points, plotting.Point{X: rows[i].Due, Y: value(&rows[i])})
		}
		return s
	}
	due := over("due", func(w *plan.Row) float64 { return w.Due })
	due.Markers, due.Dashed = false, true
	var marks []plotting.Mark
	if r.Planned.Rate > 0 {
		marks = append(marks, plotting.Mark{At: r.Planned.Rate, Label: "planned"})
	}
	offered := plotting.Axis{Label: "packets due a second", Zero: true}
	return []plotting.Chart{
		{Title: "Latency over load", X: offered, MarksX: marks,
			MarksY: []plotting.Mark{{At: float64(r.Goal.P99), Label: "bound of p99"}},
			Y:      plotting.Axis{Label: "from due time", Scale: plotting.Log, Format: units.Nanos},
			Series: []plotting.Series{
				over("p50", func(w *plan.Row) float64 { return float64(w.P50) }),
				over("p99", func(w *plan.Row) float64 { return float64(w.P99) }),
				over("p99.9", func(w *plan.Row) float64 { return float64(w.P999) })}},
		{Title: "Throughput over load", X: offered, MarksX: marks,
			Y: plotting.Axis{Label: "packets a second", Zero: true},
			Series: []plotting.Series{due,
				over("delivered", func(w *plan.Row) float64 { return w.Delivered })}},
		searchOverTime(r.Steps),
	}
}

// searchOverTime has each step as a line from its beginning to its end.
func searchOverTime(rows []plan.Row) plotting.Chart {
	due := plotting.Series{Name: "due", Dashed: true}
	delivered := plotting.Series{Name: "delivered"}
	both := func(at time.Duration, row *plan.Row) {
		due.Points = append(due.Points, plotting.Point{X: at.Seconds(), Y: row.Due})
		delivered.Points = append(delivered.Points,
			plotting.Point{X: at.Seconds(), Y: row.Delivered})
	}
	for i := range rows {
		row := &rows[i]
		both(row.At, row)
		both(row.At+row.Window, row)
	}
	axis := overTime
	axis.Label = "time of the search"
	return plotting.Chart{Title: "Throughput over time", X: axis,
		Y:      plotting.Axis{Label: "packets a second", Zero: true},
		Series: []plotting.Series{due, delivered}}
}
