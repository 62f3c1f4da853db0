package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"time"

	"derpd/bench"
)

// Line is what is kept of a report.
type Line struct {
	Time    time.Time `json:"time"`
	Commit  string    `json:"commit"`
	Machine string    `json:"machine"` // its fingerprint
	Scale   string    `json:"scale"`
	// Figures are medians by "scenario/at/peer/measure", in the measure's unit.
	Figures map[string]float64 `json:"figures"`
}

// Key is the name of a figure in a Line.
func Key(scenario, at, peer, measure string) string {
	return scenario + "/" + at + "/" + peer + "/" + measure
}

// LineOf makes the line of a report.
func LineOf(r *bench.Report) Line {
	l := Line{Time: r.Time.UTC(), Commit: r.Commit, Machine: r.Machine.Fingerprint, Scale: r.Scale,
		Figures: map[string]float64{}}
	for i := range r.Results {
		res := &r.Results[i]
		for k := range res.Figures {
			f := &res.Figures[k]
			if s := f.Summary(); s.Known() {
				// Four digits are more than any figure is sure of.
				l.Figures[Key(res.Scenario, f.At, res.Peer, f.Measure)] = round(s.Median)
			}
		}
	}
	return l
}

func round(v float64) float64 {
	if v == 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(v)))-3)
	return math.Round(v/unit) * unit
}

// Add appends the line of a report to a file, which need not exist. A report that the file has
// already is refused.
func Add(path string, r *bench.Report) error {
	lines, err := Read(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	line := LineOf(r)
	for _, l := range lines {
		if l.Time.Equal(line.Time) && l.Commit == line.Commit {
			return fmt.Errorf("%s has this report already: %s of %s", path, l.Commit,
				l.Time.Format(time.RFC3339))
		}
	}
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	return errors.Join(err, f.Close())
}

// Read reads a file. The error is a sentence with the path and the line.
func Read(path string) ([]Line, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines, err := decode(f)
	if err != nil {
		return nil, fmt.Errorf("cannot use the history %s: %w", path, err)
	}
	return lines, nil
}

func decode(in io.Reader) (lines []Line, err error) {
	s := bufio.NewScanner(in)
	s.Buffer(nil, lineBytesMax)
	for s.Scan() {
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		if len(lines) == linesMax {
			return nil, fmt.Errorf("it has more than %d lines", linesMax)
		}
		var l Line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("line %d is damaged: %w", len(lines)+1, err)
		}
		for key := range l.Figures {
			if strings.Count(key, "/") != 3 {
				return nil, fmt.Errorf("line %d is damaged: %.80q is no figure", len(lines)+1, key)
			}
		}
		lines = append(lines, l)
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("line %d has more than %d bytes", len(lines)+1, lineBytesMax)
	}
	return lines, s.Err()
}
