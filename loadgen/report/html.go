package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page is what the template sees.
type page struct {
	Title    string
	Verdict  string
	Class    string // of the verdict: ok, failed or partial
	Sections []shown
}

// shown is a section with its charts drawn.
type shown struct {
	Section
	Tables []shownTable
	Plots  []shownPlot
}

type shownTable struct {
	Head []cell
	Rows [][]cell
}

type cell struct {
	Text   string
	Figure bool
	Result bool // begins with "=": a line of a balance
}

type shownPlot struct {
	Title string
	SVG   template.HTML // by plotting, which escapes
}

// HTML writes the report as one page that loads nothing, with its plots, for light and dark and for
// paper. The sections of other rooms come before the steps.
func HTML(w io.Writer, r *Report, more ...Section) error {
	list := sections(r, more, true)
	last := list[len(list)-1]
	p := page{Title: r.title(), Verdict: last.Lines[0], Class: "failed"}
	switch r.ExitCode() {
	case ExitOK:
		p.Class = "ok"
	case ExitPartial:
		p.Class = "partial"
	}
	list[0].Lines = append(list[0].Lines, last.Lines[1:]...)
	list[0].Notes = append(list[0].Notes, stepsWithoutCharts(len(r.Steps))...)
	for _, s := range list[:len(list)-1] {
		show, err := s.show()
		if err != nil {
			return err
		}
		p.Sections = append(p.Sections, show)
	}
	if err := pageTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("report: write the page: %w", err)
	}
	return nil
}

func (s Section) show() (shown, error) {
	show := shown{Section: s}
	for i := range s.Tables {
		show.Tables = append(show.Tables, s.Tables[i].show())
	}
	for i := range s.Charts {
		c := &s.Charts[i]
		if c.Empty() {
			continue
		}
		svg, err := c.SVG()
		if err != nil {
			return shown{}, err
		}
		show.Plots = append(show.Plots, shownPlot{c.Title, template.HTML(svg)})
	}
	return show, nil
}

func (t *Table) show() (show shownTable) {
	cells := func(row []string) (list []cell) {
		result := len(row) > 0 && strings.HasPrefix(row[0], "=")
		for i, text := range row {
			list = append(list, cell{text, i >= t.left(), result})
		}
		return list
	}
	show.Head = cells(t.Head)
	for _, row := range t.Rows {
		show.Rows = append(show.Rows, cells(row))
	}
	return show
}
