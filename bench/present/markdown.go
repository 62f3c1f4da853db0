package present

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"derpd/bench"
	"derpd/loadgen/plotting"
	"derpd/loadgen/report"
	"derpd/loadgen/units"
)

// Draw takes a finished plot, as SVG for a page of a light background, and returns where it is.
type Draw func(name string, svg []byte) (path string, err error)

// Markdown writes a report as Markdown, its plots by draw; nil draws none.
func Markdown(w io.Writer, r *bench.Report, draw Draw) error {
	b := bufio.NewWriter(w)
	p := newPage(r)
	fmt.Fprintf(b, "# %s\n\n%s\n\n", p.Title, mark(p.Verdict))
	for i := range p.Sections {
		if i > 0 {
			fmt.Fprintf(b, "## %s\n\n", mark(p.Sections[i].Title))
		}
		if err := markdown(b, &p.Sections[i], draw); err != nil {
			return err
		}
	}
	return b.Flush()
}

// markdown writes a section without its title.
func markdown(b *bufio.Writer, s *report.Section, draw Draw) error {
	for _, text := range s.Lines {
		fmt.Fprintf(b, "%s\n\n", mark(text))
	}
	for i := range s.Tables {
		markdownTable(b, &s.Tables[i])
	}
	for _, text := range append(s.Notes, s.Items...) {
		fmt.Fprintf(b, "- %s\n", mark(text))
	}
	if len(s.Notes)+len(s.Items) > 0 {
		fmt.Fprintln(b)
	}
	for i := range s.Charts {
		if draw == nil {
			return nil
		}
		if err := markdownChart(b, &s.Charts[i], draw); err != nil {
			return err
		}
	}
	return nil
}

func markdownTable(b *bufio.Writer, t *report.Table) {
	columns := len(t.Head)
	for _, row := range t.Rows {
		columns = max(columns, len(row))
	}
	line := func(row []string) {
		for i := range columns {
			cell := ""
			if i < len(row) {
				cell = mark(row[i])
			}
			fmt.Fprintf(b, "| %s ", cell)
		}
		fmt.Fprintln(b, "|")
	}
	line(t.Head)
	left := max(t.Left, 1)
	for i := range columns {
		if i < left {
			fmt.Fprint(b, "| - ")
		} else {
			fmt.Fprint(b, "| -: ")
		}
	}
	fmt.Fprintln(b, "|")
	for _, row := range t.Rows {
		line(row)
	}
	fmt.Fprintln(b)
}

// onPaper gives a plot that stands alone the background that its colours are made for.
const onPaper = ` style="background:#fff"`

func markdownChart(b *bufio.Writer, c *plotting.Chart, draw Draw) error {
	svg, err := c.SVG()
	if err != nil {
		return err
	}
	alone := strings.Replace(string(svg), "<svg", "<svg"+onPaper, 1)
	path, err := draw(fileName(c.Title), []byte(alone))
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "![%s](%s)\n\n", mark(c.Title), path)
	return nil
}

// fileName makes a file's name of a title.
func fileName(title string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(title) {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.TrimSuffix(b.String(), "-") + ".svg"
}

// mark keeps text from being taken for Markdown or HTML.
func mark(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", ">", "&gt;", "&", "&amp;", "*", `\*`, "_", `\_`,
		"`", "'", "[", `\[`).Replace(units.Printable(s))
}
