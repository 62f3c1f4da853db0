package view

import (
	"os"

	"golang.org/x/term"
)

// Terminal is where a screen can be drawn.
type Terminal struct {
	// Size returns columns and rows, as they are now.
	Size func() (columns, rows int)
	// Color tells whether colours are welcome.
	Color bool
}

// TerminalOf returns the terminal that a file is, or nil: it is none, or one that cannot move its
// cursor (TERM=dumb). Colours follow NO_COLOR.
func TerminalOf(f *os.File) *Terminal {
	fd := int(f.Fd())
	if !term.IsTerminal(fd) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return &Terminal{
		Size: func() (columns, rows int) {
			columns, rows, err := term.GetSize(fd)
			if err != nil || columns <= 0 || rows <= 0 {
				return 80, 24 // what every terminal has had
			}
			return columns, rows
		},
		Color: os.Getenv("NO_COLOR") == "",
	}
}
