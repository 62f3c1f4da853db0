package fleet

import (
	"bytes"
	"strings"
	"sync"
)

// tail keeps the last lines of what is written to it, each cut to tailLineBytesMax. Of a program
// that the Go runtime ends it keeps the message and the top of the stack instead, for a stack ends
// with where the program begins. Safe for use by several goroutines.
type tail struct {
	mu    sync.Mutex
	lines []string
	last  []byte // the line that has no end yet
	fatal bool   // the runtime's message came
}

// Write implements io.Writer; it takes all.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(b)
	for {
		line, rest, ended := bytes.Cut(b, []byte("\n"))
		t.last = append(t.last, line[:min(len(line), tailLineBytesMax-len(t.last))]...)
		if !ended {
			return n, nil
		}
		t.end()
		b = rest
	}
}

func (t *tail) end() {
	line := strings.TrimSpace(string(t.last))
	t.last = t.last[:0]
	if line == "" || t.fatal && len(t.lines) == tailLinesMax {
		return
	}
	if !t.fatal && (strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")) {
		t.fatal = true
		t.lines = t.lines[max(0, len(t.lines)-2):]
	}
	if len(t.lines) == tailLinesMax {
		t.lines = append(t.lines[:0], t.lines[1:]...)
	}
	t.lines = append(t.lines, line)
}

// String joins the lines by " | "; empty if there were none.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end()
	return strings.Join(t.lines, " | ")
}
