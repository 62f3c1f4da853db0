package view

import (
	"strings"
	"unicode/utf8"

	"derpd/loadgen/units"
)

// style is how a piece of a line looks, as the number of an ANSI attribute.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	accent style = "36" // cyan
)

// span is a piece of a line.
type span struct {
	style style
	text  string
}

// row is a line of a screen.
type row []span

func (r row) columns() (n int) {
	for _, s := range r {
		n += utf8.RuneCountInString(s.text)
	}
	return n
}

// render writes the row in at most that many columns.
func (r row) render(columns int, color bool) string {
	var b strings.Builder
	for _, s := range r {
		text := s.text
		if n := utf8.RuneCountInString(text); n > columns {
			text = units.Fit(text, columns)
		}
		columns -= utf8.RuneCountInString(text)
		if s.style == plain || !color || text == "" {
			b.WriteString(text)
			continue
		}
		b.WriteString("\x1b[" + string(s.style) + "m" + text + "\x1b[0m")
	}
	return strings.TrimRight(b.String(), " ")
}

// What a terminal is told. The alternate screen keeps what was on the usual one.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	endOfLine   = "\x1b[K"
	restOfAll   = "\x1b[J"
)

// frame is all that is written for one look: each row replaces what was there, so that nothing
// flickers, and the cursor never goes below the last one.
func frame(rows []row, columns, height int, color bool) string {
	columns, height = max(columns, columnsMin), max(height, rowsMin)
	var b strings.Builder
	b.WriteString(home)
	for i, r := range rows[:min(len(rows), height-1)] {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(r.render(columns-1, color) + endOfLine)
	}
	b.WriteString(restOfAll)
	return b.String()
}
