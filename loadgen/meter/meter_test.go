package meter

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"derpd/loadgen"
)

// inner is a fleet whose step gives what a test wants.
type inner struct {
	loadgen.Fleet
	books loadgen.Books
	start int64
}

func (f *inner) Ramp(context.Context) (*loadgen.RampResult, error) {
	return &loadgen.RampResult{Clients: 1}, nil
}

func (f *inner) StepAt(_ context.Context, s loadgen.Step, start int64) (*loadgen.StepResult, error) {
	f.start = start
	// What this process uses in the window is what the meter must see.
	time.Sleep(time.Duration(start-monotonic()) + s.Warm)
	for end := time.Now().Add(s.Window); time.Now().Before(end); {
	}
	return &loadgen.StepResult{Step: s, Books: f.books}, nil
}

// drops is a relay's counter: one reading after the other.
type drops struct {
	readings []map[string]uint64
	err      error
}

func (d *drops) read(context.Context, loadgen.Target) (map[string]uint64, error) {
	if d.err != nil {
		return nil, d.err
	}
	r := d.readings[0]
	d.readings = d.readings[1:]
	return r, nil
}

func meterOf(books loadgen.Books, d *drops, targets int) (*Fleet, *inner) {
	in := &inner{books: books}
	var job loadgen.Job
	for range targets {
		job.Targets = append(job.Targets, loadgen.Target{Varz: "x", PID: os.Getpid()})
	}
	f := New(in, job)
	f.drops = d.read
	return f, in
}

func TestBooksAreBalanced(t *testing.T) {
	for name, tc := range map[string]struct {
		books       loadgen.Books
		dropped     uint64
		inFlight    uint64
		unexplained int64
	}{
		"all came":                   {loadgen.Books{Sent: 100, Delivered: 100}, 0, 0, 0},
		"the relay dropped":          {loadgen.Books{Sent: 100, Delivered: 90}, 10, 0, 0},
		"some may be under way":      {loadgen.Books{Sent: 100, Delivered: 90, InFlight: 10}, 4, 6, 0},
		"all of those were dropped":  {loadgen.Books{Sent: 100, Delivered: 90, InFlight: 10}, 10, 0, 0},
		"more is lost than explains": {loadgen.Books{Sent: 100, Delivered: 80, InFlight: 5}, 4, 5, 11},
		"more drops than losses":     {loadgen.Books{Sent: 100, Delivered: 99, InFlight: 1}, 3, 0, -2},
	} {
		// Two relays, of which the second drops for two reasons.
		d := &drops{readings: []map[string]uint64{{"queue_head": 7}, {"a": 1, "b": 1},
			{"queue_head": 7}, {"a": 1 + tc.dropped/2, "b": 1 + tc.dropped - tc.dropped/2}}}
		f, _ := meterOf(tc.books, d, 2)
		r, err := f.Step(t.Context(), loadgen.Step{Window: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		b := &r.Books
		if !b.DroppedKnown || b.Drops() != tc.dropped || b.InFlight != tc.inFlight ||
			b.Unexplained() != tc.unexplained {
			t.Errorf("%s: %+v leaves %d unexplained, want %d", name, *b, b.Unexplained(),
				tc.unexplained)
		}
	}
}

// TestDropsAreNotKnown: a relay that cannot be read, or was restarted, is a note and no error.
func TestDropsAreNotKnown(t *testing.T) {
	for want, d := range map[string]*drops{
		"out of reach": {err: errors.New("out of reach")},
		"restarted":    {readings: []map[string]uint64{{"a": 5}, {"a": 4}}},
	} {
		f, _ := meterOf(loadgen.Books{Sent: 10, Delivered: 9, InFlight: 1}, d, 1)
		r, err := f.Step(t.Context(), loadgen.Step{Window: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if r.Books.DroppedKnown || r.Books.InFlight != 1 || !strings.Contains(r.Notes["drops"], want) {
			t.Errorf("%s: books %+v, notes %v", want, r.Books, r.Notes)
		}
	}
}

// TestWindowIsMeasured: the relay's use is that of the window, without what came before.
func TestWindowIsMeasured(t *testing.T) {
	if os.Getenv("TEST_EMULATED") != "" { // set by make test-arm64
		t.Skip("emulated: qemu-user shows a process its own /proc/PID/stat without processor time")
	}
	f, in := meterOf(loadgen.Books{}, &drops{readings: []map[string]uint64{{}, {}}}, 1)
	before := monotonic()
	const window = 200 * time.Millisecond
	var edges [2]int64
	f.AtEdge = func(i int) { edges[i] = monotonic() }
	r, err := f.Step(t.Context(), loadgen.Step{Warm: 100 * time.Millisecond, Window: window})
	if err != nil {
		t.Fatal(err)
	}
	if in.start < before || in.start > before+int64(time.Second) {
		t.Errorf("the step begins %v from now", time.Duration(in.start-before))
	}
	from := in.start + int64(100*time.Millisecond)
	if edges[0] < from || edges[1] < from+int64(window) || edges[1] <= edges[0] {
		t.Errorf("the window begins at %d and its edges are told at %v", from, edges)
	}
	// One processor is busy for the window; this process has other goroutines, and ticks of 10 ms. That
	// is not seen by who looks late at its beginning.
	late := edges[1]-edges[0] < int64(window)/2
	if len(r.Relays) != 1 || r.Relays[0].PID != os.Getpid() || r.Relays[0].CPU.Sum() > 3*window ||
		r.Relays[0].CPU.Sum() == 0 && !late || r.Relays[0].RSSBytes < 1<<20 {
		t.Errorf("used %+v in a window of %v", r.Relays, window)
	}
	ramp, err := f.Ramp(t.Context())
	if err != nil || len(ramp.Relays) != 1 || ramp.Clients != 1 {
		t.Errorf("ramp %+v, %v", ramp, err)
	}
}
