package report

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"derpd/loadgen"
)

// Write writes the report as JSON to a file, all or nothing: see WriteFile.
func Write(path string, r *Report) error {
	stamped := *r
	stamped.Format = Format
	return WriteFile(path, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", " ")
		return e.Encode(&stamped)
	})
}

// WriteFile writes what render writes to a file of that name. It is written beside it under another
// name first, brought to the disk and then renamed, so that there is the old file or the whole new
// one. Where the path is a terminal, a pipe or another device, it is written to as it is. The error
// is a sentence with the path.
func WriteFile(path string, render func(io.Writer) error) error {
	if err := writeFile(path, render); err != nil {
		return fmt.Errorf("cannot write the report %s: %w", path, reason(err))
	}
	return nil
}

// reason takes the names of temporary files out of errors: the path that was asked for is enough.
func reason(err error) error {
	var at *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &at):
		return at.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}

func writeFile(path string, render func(io.Writer) error) error {
	// A link keeps pointing to what is replaced.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return writeDevice(path, render)
	}
	dir := filepath.Dir(path)
	temp := filepath.Join(dir, "."+filepath.Base(path)+"."+rand.Text()+".tmp")
	// Not os.CreateTemp, whose files only their owner may read.
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	err = buffered(f, render)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, removed(temp))
	}
	return syncDir(dir)
}

func removed(temp string) error {
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncDir brings the new name to the disk. Some file systems cannot, and have it anyway.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return nil // written, in a folder that may not be read
	}
	err = f.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, os.ErrInvalid) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

func writeDevice(path string, render func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(buffered(f, render), f.Close())
}

func buffered(f *os.File, render func(io.Writer) error) error {
	w := bufio.NewWriter(f)
	if err := render(w); err != nil {
		return err
	}
	return w.Flush()
}

// Read reads a report that Write wrote, here or on another machine. The error is a sentence with
// the path: it cannot be opened, it is damaged, or it is of another format.
func Read(path string) (*Report, error) {
	var r *Report
	err := ReadFile(path, reportBytesMax, func(b []byte) (err error) {
		r, err = Decode(b)
		return err
	})
	return r, err
}

// ReadFile hands what is in a report's file to decode, unless that is more than bytesMax. The error
// is a sentence with the path.
func ReadFile(path string, bytesMax int64, decode func([]byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read the report %s: %w", path, reason(err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, bytesMax+1))
	switch {
	case err != nil:
		return fmt.Errorf("cannot read the report %s: %w", path, reason(err))
	case int64(len(b)) > bytesMax:
		return fmt.Errorf("%s is no report: it has more than %d MiB", path, bytesMax>>20)
	}
	if err := decode(b); err != nil {
		return fmt.Errorf("cannot use the report %s: %w", path, err)
	}
	return nil
}

// Decode is Read of bytes.
func Decode(b []byte) (*Report, error) {
	var head struct {
		Format *int `json:"format"`
		Kind   Kind `json:"kind"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("it is damaged or no report: %w", err)
	}
	switch {
	case head.Format == nil || head.Kind != Run && head.Kind != Plan:
		return nil, errors.New("it is no report of loadgen")
	case *head.Format != Format:
		return nil, fmt.Errorf("it is of format %d and this program reads format %d: use the "+
			"loadgen that wrote it", *head.Format, Format)
	}
	r := &Report{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if what := r.missing(); what != "" {
		return nil, fmt.Errorf("it is damaged: %s", what)
	}
	if bytes.Equal(r.Plan, []byte("null")) {
		r.Plan = nil
	}
	r.complete()
	return r, nil
}

// complete adds what programs did not count before: of STUN, where Sent and Answered were of the
// requests that were due in the window and sent at any time.
func (r *Report) complete() {
	for _, s := range r.Steps {
		if u := s.STUN; u != nil && u.Due == 0 && u.Asked == 0 {
			u.Due, u.Asked = u.Sent, u.Sent
			u.Lost = u.Sent - min(u.Answered, u.Sent)
		}
	}
}

// missing says what a report lacks that everything else here relies on.
func (r *Report) missing() string {
	if r.Ramp != nil && hole(r.Ramp.Failures) {
		return "a class of failures of the ramp has no count"
	}
	for i, s := range r.Steps {
		switch {
		case s == nil:
			return fmt.Sprintf("step %d is empty", i+1)
		case hole(s.Failures):
			return fmt.Sprintf("a class of failures of step %d has no count", i+1)
		case s.Window < 0 || s.Step.Window < 0:
			return fmt.Sprintf("step %d lasted less than no time", i+1)
		}
	}
	return ""
}

func hole(f loadgen.Failures) bool {
	for _, c := range f {
		if c == nil {
			return true
		}
	}
	return false
}
