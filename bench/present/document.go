package present

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"

	"derpd/bench"
	"derpd/loadgen/units"
)

// Document fills the figures of a report into a text in Markdown, a template of package
// text/template with these functions. A name that the report does not have is an error.
//
//	{{table "bulk-tls"}}                 what the scenario is, the command that printed it, its
//	                                     figures of all peers, and its plots
//	{{value "bulk-tls" "20k" "derpd" "cpu"}}  one median with its unit
//	{{ratio "bulk-tls" "20k" "derpd" "cpu"}}  it as a multiple of the reference's
//	{{losses "derpd"}}                   every figure in which that peer is worse than the reference
//	{{machine}} {{peers}} {{command}} {{date}} {{knee}}
func Document(w io.Writer, text string, r *bench.Report, draw Draw) error {
	d := document{r, draw}
	t, err := template.New("document").Option("missingkey=error").Funcs(template.FuncMap{
		"table": d.table, "value": d.value, "ratio": d.ratio, "losses": d.losses,
		"machine": func() string { return mark(r.Machine.Fingerprint) },
		"peers":   d.peers,
		"command": func() string { return r.Command },
		"date":    func() string { return r.Time.UTC().Format("2006-01-02") },
		"knee":    func() string { return units.Whole(r.KneeTLS) },
	}).Parse(text)
	if err != nil {
		return fmt.Errorf("the template: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, nil); err != nil {
		return fmt.Errorf("the template: %w", err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

type document struct {
	r    *bench.Report
	draw Draw
}

// table is a scenario as it stands in a report, with its command.
func (d document) table(name string) (string, error) {
	if !slices.Contains(d.r.Scenarios(), name) {
		return "", fmt.Errorf("the report has no scenario %q", name)
	}
	var out bytes.Buffer
	b := bufio.NewWriter(&out)
	s := Section(d.r, name)
	fmt.Fprintf(b, "    %s\n\n", d.only(name))
	if err := markdown(b, &s, d.draw); err != nil {
		return "", err
	}
	if err := b.Flush(); err != nil {
		return "", err
	}
	return strings.TrimRight(out.String(), "\n"), nil
}

// only is the command that prints one scenario.
func (d document) only(name string) string {
	names := name
	if strings.HasPrefix(name, "latency-") {
		names = "knee-tls," + name // its loads are shares of that
	}
	parts := []string{"bin/bench run -scale", d.r.Scale, "-only", names}
	for i := range d.r.Peers {
		p := &d.r.Peers[i]
		if d.r.Result(name, p.Name) == nil {
			continue // it is not in this one
		}
		path := p.Path
		if at := strings.LastIndex(path, "/bin/"); at >= 0 {
			path = path[at+1:]
		}
		if p.NoFiles {
			path = "no-files:" + path
		}
		if p.NoSTUN {
			path = "no-stun:" + path
		}
		if p.Plain {
			path = "plain:" + path
		}
		spec := p.Name + "=" + strings.Join(append([]string{path}, p.Args...), " ")
		if strings.Contains(spec, " ") {
			spec = "'" + spec + "'"
		}
		parts = append(parts, "-peer", spec)
	}
	return strings.Join(parts, " ")
}

func (d document) find(scenario, at, peer, measure string) (*bench.Figure, *bench.Measure, error) {
	f := d.r.Result(scenario, peer).Figure(at, measure)
	m, ok := bench.Find(measure)
	if f == nil || !ok {
		return nil, nil, fmt.Errorf("the report has no figure %q at %q of %q in %q", measure, at, peer,
			scenario)
	}
	return f, m, nil
}

func (d document) value(scenario, at, peer, measure string) (string, error) {
	f, m, err := d.find(scenario, at, peer, measure)
	if err != nil {
		return "", err
	}
	return m.Format(f.Summary().Median), nil
}

func (d document) ratio(scenario, at, peer, measure string) (string, error) {
	f, _, err := d.find(scenario, at, peer, measure)
	if err != nil {
		return "", err
	}
	return ratio(bench.Ratio(f, d.r.Result(scenario, d.r.Reference).Figure(at, measure))), nil
}

func (d document) peers() string {
	var lines []string
	for i := range d.r.Peers {
		p := &d.r.Peers[i]
		text := "- " + p.Name
		if p.Version != "" {
			text += ": " + mark(p.Version)
		}
		if len(p.Args) > 0 {
			text += ", with " + mark(strings.Join(p.Args, " "))
		}
		if p.Plain {
			text += ", plain TCP in every scenario"
		}
		lines = append(lines, text)
	}
	return strings.Join(lines, "\n")
}

// lossMin leaves out what is as good as equal: hardly any figure is surer than that.
const lossMin = 1.02

// losses lists the figures in which a peer is worse than the reference, the worst first. Details of
// others are left out.
func (d document) losses(peer string) (string, error) {
	if d.r.Peer(peer) == nil {
		return "", fmt.Errorf("the report has no peer %q", peer)
	}
	type loss struct {
		line string
		by   float64
	}
	var all []loss
	for i := range d.r.Results {
		res := &d.r.Results[i]
		if res.Peer != peer {
			continue
		}
		for k := range res.Figures {
			f := &res.Figures[k]
			m, ok := bench.Find(f.Measure)
			reference := d.r.Result(res.Scenario, d.r.Reference).Figure(f.At, f.Measure)
			s := bench.Ratio(f, reference)
			if !ok || !s.Known() || m.Class == bench.Detail {
				continue
			}
			by := s.Median
			if m.Higher {
				by = 1 / by
			}
			// What prints alike is one, by whatever hairs it differed in each round.
			if by > lossMin && value(m, f) != value(m, reference) {
				all = append(all, loss{fmt.Sprintf("- %s %s %s: %s, %s %s (%s)", res.Scenario, f.At,
					m.Name, value(m, f), d.r.Reference, value(m, reference), ratio(s)), by})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b loss) int {
		if a.by > b.by {
			return -1
		}
		return 1
	})
	if len(all) == 0 {
		return "None in this run.", nil
	}
	var lines []string
	for _, l := range all {
		lines = append(lines, mark(l.line))
	}
	return strings.Join(lines, "\n"), nil
}
