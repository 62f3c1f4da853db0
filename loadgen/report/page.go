package report

import (
	"bufio"
	"fmt"
	"io"
)

// Page is a document of sections that is not a Report: what other programs have measured, shown in
// the same way.
type Page struct {
	Title    string
	Verdict  string // the last word, which stands first
	Class    string // of the verdict: ok, failed or partial
	Sections []Section
}

// HTML writes it as one file that loads nothing, with its plots, for light and dark and for paper.
// The title stands in place of that of the first section.
func (p *Page) HTML(w io.Writer) error {
	out := page{Title: p.Title, Verdict: p.Verdict, Class: p.Class}
	for _, s := range p.Sections {
		show, err := s.show()
		if err != nil {
			return err
		}
		out.Sections = append(out.Sections, show)
	}
	if err := pageTemplate.Execute(w, out); err != nil {
		return fmt.Errorf("report: write the page: %w", err)
	}
	return nil
}

// Text writes its sections for a terminal, and the verdict in the end. Tables are as wide as their
// figures.
func (p *Page) Text(w io.Writer) error {
	b := bufio.NewWriter(w)
	for _, s := range p.Sections {
		if err := s.text(b); err != nil {
			return err
		}
	}
	sentences(b, []string{p.Verdict})
	return b.Flush()
}
