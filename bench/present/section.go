package present

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"derpd/bench"
	"derpd/bench/scenario"
	"derpd/loadgen/report"
	"derpd/loadgen/units"
)

// none stands for a figure that is not known.
const none = "–"

// Text writes a report for a terminal.
func Text(w io.Writer, r *bench.Report) error { return newPage(r).Text(w) }

// HTML writes a report as one page that loads nothing, with its plots.
func HTML(w io.Writer, r *bench.Report) error { return newPage(r).HTML(w) }

func newPage(r *bench.Report) *report.Page {
	p := &report.Page{Title: "Relays side by side", Class: "ok",
		Verdict: "Every peer has figures of every scenario that it is in.", Sections: sections(r)}
	failed := rowsThat(r, func(res *bench.Result) bool { return res.Error != "" })
	// Such as a relay that may not hold as many clients on this machine.
	empty := rowsThat(r, func(res *bench.Result) bool { return len(res.Figures) == 0 })
	switch {
	case r.Partial:
		p.Class, p.Verdict = "partial", "Interrupted: what is here was measured, and the rest was not."
	case failed != "":
		p.Class, p.Verdict = "failed", "Some rows failed or lack figures: "+failed+"."
	case len(r.Results) == 0:
		p.Verdict = "Nothing was measured."
	case empty != "":
		p.Verdict = "Nothing failed. Some rows have no figures: " + empty + "."
	}
	return p
}

// rowsThat names the results that are so.
func rowsThat(r *bench.Report, so func(*bench.Result) bool) string {
	var list []string
	for i := range r.Results {
		if so(&r.Results[i]) {
			list = append(list, r.Results[i].Peer+" in "+r.Results[i].Scenario)
		}
	}
	return strings.Join(list, ", ")
}

func sections(r *bench.Report) []report.Section {
	list := []report.Section{facts(r)}
	for _, name := range r.Scenarios() {
		list = append(list, Section(r, name))
	}
	return list
}

// facts say what was measured, where and by what.
func facts(r *bench.Report) report.Section {
	t := report.Table{Left: 2}
	add := func(name, value string) {
		if value != "" {
			t.Rows = append(t.Rows, []string{name, value})
		}
	}
	m := &r.Machine
	add("machine", fmt.Sprintf("%s, %d processors, %s, Linux %s", m.CPU, m.CPUs,
		units.Memory(float64(m.Memory)), m.Kernel))
	for i := range r.Peers {
		p := &r.Peers[i]
		text := p.Name + ": " + strings.Join(append([]string{p.Path}, p.Args...), " ")
		if p.Version != "" {
			text += " (" + p.Version + ")"
		}
		if p.Plain {
			text += ", plain TCP in every scenario"
		}
		add("peer", text)
	}
	if r.Reference != "" {
		add("ratios", "of "+r.Reference+", from the same rounds")
	}
	if r.KneeTLS > 0 {
		add("loads", "shares of "+units.Whole(r.KneeTLS)+" packets a second, the knee of "+r.Reference)
	}
	where := fmt.Sprintf("processor %d for the relay alone", r.CPU)
	if r.CPU < 0 {
		where = "relay and generator on all processors"
	}
	add("bound to", where)
	add("program", strings.TrimSpace("bench "+r.Version+" "+r.Go))
	add("commit", r.Commit)
	add("command", r.Command)
	add("began", r.Time.UTC().Format("2006-01-02 15:04:05 UTC"))
	return report.Section{Title: "Relays side by side", Tables: []report.Table{t}, Notes: r.Notes}
}

// Section shows one scenario: a line for each measure at each load, a column for each peer with its
// median, how sure that is, and its ratio to the reference.
func Section(r *bench.Report, name string) report.Section {
	s := report.Section{Title: name}
	if text := textOf(name, r.Scale); text != "" {
		s.Lines = []string{text}
	}
	t := report.Table{Head: []string{"", ""}, Left: 2}
	var results []*bench.Result
	for i := range r.Peers {
		res := r.Result(name, r.Peers[i].Name)
		if res == nil {
			continue
		}
		results = append(results, res)
		t.Head = append(t.Head, res.Peer)
		if hasRatio(r, res.Peer) {
			t.Head = append(t.Head, "÷")
		}
	}
	for _, row := range rowsOf(results) {
		t.Rows = append(t.Rows, row.cells(r, name, results))
	}
	if len(t.Rows) > 0 {
		s.Tables = []report.Table{t}
	}
	for _, res := range results {
		s.Notes = append(s.Notes, notes(res)...)
	}
	s.Charts = charts(r, name)
	return s
}

func hasRatio(r *bench.Report, peer string) bool { return r.Reference != "" && peer != r.Reference }

// row is a measure at a load.
type row struct{ at, measure string }

// rowsOf lists the rows that any of the results has, loads in the order of their coming and
// measures in that of bench.Measures.
func rowsOf(results []*bench.Result) (rows []row) {
	var loads []string
	for _, res := range results {
		for i := range res.Figures {
			f := &res.Figures[i]
			if !slices.Contains(loads, f.At) {
				loads = append(loads, f.At)
			}
			if r := (row{f.At, f.Measure}); !slices.Contains(rows, r) {
				rows = append(rows, r)
			}
		}
	}
	place := func(r row) int {
		m := slices.IndexFunc(bench.Measures, func(m bench.Measure) bool { return m.Name == r.measure })
		return slices.Index(loads, r.at)*len(bench.Measures) + m
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(place(a), place(b)) })
	return rows
}

func (w row) cells(r *bench.Report, name string, results []*bench.Result) []string {
	cells := []string{w.at, w.measure}
	m, ok := bench.Find(w.measure)
	if !ok {
		return cells
	}
	reference := r.Result(name, r.Reference).Figure(w.at, w.measure)
	for _, res := range results {
		f := res.Figure(w.at, w.measure)
		cells = append(cells, value(m, f))
		if hasRatio(r, res.Peer) {
			cells = append(cells, ratio(bench.Ratio(f, reference)))
		}
	}
	return cells
}

// value is a median with how sure it is, and a star where the generator was the limit.
func value(m *bench.Measure, f *bench.Figure) string {
	s := f.Summary()
	if !s.Known() {
		return none
	}
	text := m.Format(s.Median)
	if s.N > 1 {
		text += fmt.Sprintf(" ±%.0f%%", 100*s.Spread())
	}
	if f.Limited != "" {
		text += "*"
	}
	return text
}

func ratio(s bench.Summary) string {
	if !s.Known() || s.Median < 0 { // memory may shrink, which is no share of anything
		return none
	}
	return units.Digits(s.Median, 2) + "×"
}

// notes are what there is to say of one peer.
func notes(res *bench.Result) (list []string) {
	if res.Error != "" {
		list = append(list, res.Peer+": "+lines(res.Error))
	}
	for _, text := range res.Remarks {
		list = append(list, res.Peer+": "+lines(text))
	}
	for i := range res.Figures {
		if why := res.Figures[i].Limited; why != "" {
			return append(list, "* "+res.Peer+": the generator was the limit: "+why)
		}
	}
	return list
}

// lines joins the lines of a text: those of a relay's log too.
func lines(text string) string {
	parts := strings.Split(text, "\n")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return strings.Join(parts, " ¶ ")
}

// textOf is what a scenario is; empty for one that this program does not have any more.
func textOf(name, scale string) string {
	s, err := scenario.Find(scale)
	if err != nil {
		return ""
	}
	for i := range s.Scenarios {
		if s.Scenarios[i].Name == name {
			return upper(s.Scenarios[i].Text) + "."
		}
	}
	return ""
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// Scenarios writes what each scale measures, and what the measures mean.
func Scenarios(w io.Writer, scales []scenario.Scale) error {
	p := report.Page{Verdict: "± is half of the interval that holds the median with a confidence of " +
		"93 % (five rounds), or half of the range of fewer rounds, as a share of the median."}
	for _, scale := range scales {
		s := report.Section{Title: "Scale " + scale.Name + ": " + scale.Text}
		t := report.Table{Left: 2}
		for i := range scale.Scenarios {
			sc := &scale.Scenarios[i]
			s.Lines = append(s.Lines, fmt.Sprintf("%s, %d rounds: %s.", sc.Name, sc.Rounds, sc.Text))
		}
		s.Tables = append(s.Tables, t)
		p.Sections = append(p.Sections, s)
	}
	s := report.Section{Title: "Measures"}
	for i := range bench.Measures {
		m := &bench.Measures[i]
		s.Lines = append(s.Lines, fmt.Sprintf("%s (%s, %s): %s.", m.Name, m.Unit, m.Class, m.Text))
	}
	p.Sections = append(p.Sections, s)
	return p.Text(w)
}
