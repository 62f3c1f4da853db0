package launch

import (
	"bytes"
	"strings"
	"sync"
)

// tail keeps the last lines written to it. Any goroutine may write.
type tail struct {
	mu    sync.Mutex
	lines []string
	part  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.part = append(t.part, b...)
	for {
		i := bytes.IndexByte(t.part, '\n')
		if i < 0 && len(t.part) < logLineBytesMax {
			return len(b), nil
		}
		if i < 0 {
			i = len(t.part) - 1
		}
		t.lines = append(t.lines, string(t.part[:i]))
		t.lines = t.lines[max(0, len(t.lines)-logLinesMax):]
		t.part = append(t.part[:0], t.part[i+1:]...)
	}
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == 0 {
		return "  (nothing)"
	}
	return "  " + strings.Join(t.lines, "\n  ")
}
