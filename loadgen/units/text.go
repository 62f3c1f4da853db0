package units

import (
	"strings"
	"unicode"
)

// Printable replaces what a terminal would obey or that would break a line: text may come from a
// peer or a file. Line ends and tabs become spaces.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// Fit cuts a text to a number of columns, one for each character, and then ends it with an
// ellipsis.
func Fit(s string, columns int) string {
	r := []rune(s)
	switch {
	case len(r) <= columns:
		return s
	case columns < 1:
		return ""
	}
	return string(r[:columns-1]) + "…"
}
