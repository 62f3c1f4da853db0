package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"derpd/interop/harness"
)

// devTools speaks Chromium's DevTools protocol over a pair of pipes: JSON messages, each ended
// by a zero byte. A goroutine reads the answers; call may be called from any.
type devTools struct {
	w   *os.File
	r   *os.File
	log *harness.Log

	mu      sync.Mutex
	last    int
	waiting map[int]chan reply
	ended   bool
}

type request struct {
	ID      int    `json:"id"`
	Session string `json:"sessionId,omitempty"`
	Method  string `json:"method"`
	Params  any    `json:"params,omitempty"`
}

// reply is an answer, which has an ID, or an event, which has a Method.
type reply struct {
	ID     int
	Method string
	Params json.RawMessage
	Result json.RawMessage
	Error  *struct{ Message string }
}

var errEnded = errors.New("the browser has ended")

func newDevTools(w, r *os.File, log *harness.Log) *devTools {
	d := &devTools{w: w, r: r, log: log, waiting: make(map[int]chan reply)}
	go d.read()
	return d
}

func (d *devTools) read() {
	for br := bufio.NewReader(d.r); ; {
		b, err := br.ReadBytes(0)
		if err != nil {
			break
		}
		var m reply
		if err := json.Unmarshal(b[:len(b)-1], &m); err != nil {
			fmt.Fprintf(d.log, "DevTools: %v in %q\n", err, b)
			continue
		}
		if m.Method != "" {
			d.event(m)
			continue
		}
		d.mu.Lock()
		answer := d.waiting[m.ID]
		delete(d.waiting, m.ID)
		d.mu.Unlock()
		if answer != nil {
			answer <- m
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	for _, answer := range d.waiting {
		close(answer)
	}
	clear(d.waiting)
}

// event logs what a page says on its console, what it does not catch, and what the browser
// has to say about it, such as why a WebSocket could not be opened.
func (d *devTools) event(m reply) {
	switch m.Method {
	case "Runtime.consoleAPICalled", "Runtime.exceptionThrown":
		fmt.Fprintf(d.log, "%s: %s\n", m.Method, m.Params)
	case "Log.entryAdded":
		var said struct{ Entry struct{ Level, Text string } }
		if json.Unmarshal(m.Params, &said) == nil {
			fmt.Fprintf(d.log, "%s: %s\n", said.Entry.Level, said.Entry.Text)
		}
	}
}

// call sends a command to a session, or to the browser if it is empty, and waits for the
// answer, which goes to result if that is not nil.
func (d *devTools) call(
	ctx context.Context, session, method string, params, result any,
) error {
	answer := make(chan reply, 1)
	d.mu.Lock()
	if d.ended {
		d.mu.Unlock()
		return fmt.Errorf("%s: %w", method, errEnded)
	}
	d.last++
	id := d.last
	d.waiting[id] = answer
	b, err := json.Marshal(request{id, session, method, params})
	if err == nil {
		_, err = d.w.Write(append(b, 0))
	}
	d.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case m, ok := <-answer:
		switch {
		case !ok:
			return fmt.Errorf("%s: %w", method, errEnded)
		case m.Error != nil:
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		case result != nil:
			return json.Unmarshal(m.Result, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: no answer from Chromium: %w", method, ctx.Err())
	}
}

func (d *devTools) close() {
	for _, c := range []io.Closer{d.w, d.r} {
		c.Close()
	}
}
