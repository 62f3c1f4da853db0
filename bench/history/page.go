package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"derpd/bench"
	"derpd/loadgen/plotting"
	"derpd/loadgen/report"
)

// Page shows how one peer's figures moved: a chart for each measure of each scenario, of the lines
// that were made on the machine and with the scale of the newest.
func Page(lines []Line, peer string) (*report.Page, error) {
	if len(lines) == 0 {
		return nil, fmt.Errorf("the history has no lines")
	}
	newest := slices.MaxFunc(lines, func(a, b Line) int { return a.Time.Compare(b.Time) })
	alike := slices.DeleteFunc(slices.Clone(lines), func(l Line) bool {
		return l.Machine != newest.Machine || l.Scale != newest.Scale
	})
	slices.SortStableFunc(alike, func(a, b Line) int { return a.Time.Compare(b.Time) })
	facts := report.Section{Title: "History", Lines: []string{fmt.Sprintf("%d runs of scale %s on "+
		"%s; %d of others are left out.", len(alike), newest.Scale, newest.Machine,
		len(lines)-len(alike))}}
	t := report.Table{Head: []string{"run", "commit", "began"}, Left: 3}
	for i, l := range alike {
		t.Rows = append(t.Rows, []string{fmt.Sprint(i + 1), l.Commit,
			l.Time.Format("2006-01-02 15:04")})
	}
	facts.Tables = []report.Table{t}
	p := &report.Page{Title: "How " + peer + " moved", Class: "ok", Sections: []report.Section{facts},
		Verdict: fmt.Sprintf("Medians of %d runs; bench compare judges.", len(alike))}
	p.Sections = append(p.Sections, sections(alike, peer)...)
	if len(p.Sections) == 1 {
		return nil, fmt.Errorf("the history has no figures of %q", peer)
	}
	return p, nil
}

// sections are the scenarios, with a chart for each measure and a line for each load.
func sections(lines []Line, peer string) (list []report.Section) {
	type chartKey struct{ scenario, measure string }
	loads := map[chartKey][]string{}
	for _, l := range lines {
		for key := range l.Figures {
			part := strings.Split(key, "/")
			k := chartKey{part[0], part[3]}
			if part[2] == peer && !slices.Contains(loads[k], part[1]) {
				loads[k] = append(loads[k], part[1])
			}
		}
	}
	bySection := map[string]*report.Section{}
	for k, at := range loads {
		m, ok := bench.Find(k.measure)
		if !ok {
			continue
		}
		s := bySection[k.scenario]
		if s == nil {
			s = &report.Section{Title: k.scenario}
			bySection[k.scenario] = s
		}
		slices.Sort(at)
		s.Charts = append(s.Charts, chart(lines, k.scenario, peer, m, at))
	}
	for _, s := range bySection {
		slices.SortFunc(s.Charts, func(a, b plotting.Chart) int { return cmp.Compare(a.Title, b.Title) })
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b report.Section) int { return cmp.Compare(a.Title, b.Title) })
	return list
}

func chart(lines []Line, scenario, peer string, m *bench.Measure, loads []string) plotting.Chart {
	c := plotting.Chart{Title: m.Name + ": " + m.Text, X: plotting.Axis{Label: "run", Format: whole},
		Y: plotting.Axis{Label: m.Unit, Zero: true, Format: m.Format}}
	for _, at := range loads[:min(len(loads), seriesMax)] {
		s := plotting.Series{Name: cmp.Or(at, scenario), Markers: true}
		for i, l := range lines {
			if v, ok := l.Figures[Key(scenario, at, peer, m.Name)]; ok {
				s.Points = append(s.Points, plotting.Point{X: float64(i + 1), Y: v})
			}
		}
		c.Series = append(c.Series, s)
	}
	return c
}

// whole labels ticks that are runs.
func whole(v float64) string {
	if v != math.Trunc(v) {
		return ""
	}
	return fmt.Sprintf("%.0f", v)
}
