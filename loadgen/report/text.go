package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"derpd/loadgen/units"
)

// Text writes the report for a terminal, at most 100 columns wide: what was run, logging in, each
// step with its groups, processor time and books, and the verdict in the end. A plan's steps are
// told in one line each. The sections of other rooms come before the steps.
func Text(w io.Writer, r *Report, more ...Section) error {
	b := bufio.NewWriter(w)
	for _, s := range sections(r, more, r.Kind == Run) {
		if err := s.text(b); err != nil {
			return err
		}
	}
	return b.Flush()
}

// sections are all parts of a report in their order, with each step of its own or not.
func sections(r *Report, more []Section, steps bool) []Section {
	list := []Section{summary(r)}
	if r.Ramp != nil {
		list = append(list, rampSection(r.Ramp))
	}
	list = append(list, more...)
	if len(r.Memory) > 0 {
		list = append(list, memorySection(r.Memory))
	}
	if len(r.Steps) > 1 {
		list = append(list, overview(r))
	}
	for i := range r.Steps {
		if steps {
			list = append(list, stepSection(r, i))
		}
	}
	return append(list, verdict(r))
}

func (s *Section) text(w *bufio.Writer) error {
	fmt.Fprintf(w, "%s\n", fit(s.Title, textColumnsMax))
	sentences(w, s.Lines)
	for i := range s.Tables {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := s.Tables[i].text(w); err != nil {
			return err
		}
	}
	sentences(w, s.Notes)
	for _, item := range s.Items {
		fmt.Fprintf(w, "  %s\n", fit(item, textColumnsMax-2))
	}
	fmt.Fprintln(w)
	return nil
}

func sentences(w *bufio.Writer, list []string) {
	for _, sentence := range list {
		for _, part := range wrap(sentence, textColumnsMax-2) {
			fmt.Fprintf(w, "  %s\n", part)
		}
	}
}

// text aligns figures at the right. Text columns are filled up first, for tabwriter aligns all
// columns alike; a table of nothing but text is not, and its last column is wrapped.
func (t *Table) text(w io.Writer) error {
	if t.left() >= t.columns() {
		return t.facts(w)
	}
	rows := t.Rows
	if len(t.Head) > 0 {
		rows = append([][]string{t.Head}, t.Rows...)
	}
	widths := make([]int, t.left())
	for _, row := range rows {
		for i := range min(len(row), t.left()) {
			widths[i] = max(widths[i], utf8.RuneCountInString(t.name(row[i])))
		}
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range rows {
		for i, cell := range row {
			if i < len(widths) {
				name := t.name(cell)
				cell = name + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(name))
			}
			fmt.Fprintf(tw, "%s\t", units.Printable(cell))
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

func (t *Table) columns() (n int) {
	for _, row := range t.Rows {
		n = max(n, len(row))
	}
	return n
}

// name cuts a cell of text so that a wide table fits.
func (t *Table) name(cell string) string {
	if t.columns() > 3 {
		return fit(cell, nameColumnsMax)
	}
	return fit(cell, 3*nameColumnsMax)
}

// facts writes names and what is known of them.
func (t *Table) facts(w io.Writer) error {
	nameColumns := 0
	for _, row := range t.Rows {
		nameColumns = max(nameColumns, utf8.RuneCountInString(row[0]))
	}
	nameColumns = min(nameColumns, factColumnsMax) + 2
	for _, row := range t.Rows {
		for i, part := range wrap(strings.Join(row[1:], "  "), textColumnsMax-2-nameColumns) {
			name := row[0]
			if i > 0 {
				name = ""
			}
			if _, err := fmt.Fprintf(w, "  %-*s%s\n", nameColumns,
				fit(name, nameColumns-2), part); err != nil {
				return err
			}
		}
	}
	return nil
}

// fit cleans a text and cuts it to a number of columns.
func fit(s string, columns int) string { return units.Fit(units.Printable(s), columns) }

// wrap cleans a text and breaks it at spaces, or where a word is too long.
func wrap(s string, columns int) (lines []string) {
	rest := []rune(units.Printable(s))
	for len(rest) > columns {
		at := columns
		for i := columns; i > columns/2; i-- {
			if rest[i] == ' ' {
				at = i
				break
			}
		}
		lines = append(lines, string(rest[:at]))
		rest = []rune(strings.TrimLeft(string(rest[at:]), " "))
	}
	return append(lines, string(rest))
}
