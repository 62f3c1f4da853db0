package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"derpd/loadgen/report"
)

// kind tells reports of bench from others, such as loadgen's.
const kind = "bench"

// Write writes the report as JSON to a file, all or nothing.
func Write(path string, r *Report) error {
	stamped := *r
	stamped.Format, stamped.Kind = Format, kind
	return report.WriteFile(path, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", " ")
		return e.Encode(&stamped)
	})
}

// Read reads a report that Write wrote. The error is a sentence with the path: it cannot be opened,
// it is damaged, or it is of another format.
func Read(path string) (*Report, error) {
	var r *Report
	err := report.ReadFile(path, reportBytesMax, func(b []byte) (err error) {
		r, err = Decode(b)
		return err
	})
	return r, err
}

// Decode is Read of bytes.
func Decode(b []byte) (*Report, error) {
	var head struct {
		Format *int   `json:"format"`
		Kind   string `json:"kind"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("it is damaged or no report: %w", err)
	}
	switch {
	case head.Format == nil || head.Kind != kind:
		return nil, errors.New("it is no report of bench")
	case *head.Format != Format:
		return nil, fmt.Errorf("it is of format %d and this program reads format %d: use the bench "+
			"that wrote it", *head.Format, Format)
	}
	r := &Report{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	return r, nil
}

// check holds a report to what everything else here relies on.
func (r *Report) check() error {
	peers := map[string]bool{}
	for i := range r.Peers {
		name := r.Peers[i].Name
		if err := CheckName(name); err != nil {
			return err
		}
		if peers[name] {
			return fmt.Errorf("two peers are named %q", name)
		}
		peers[name] = true
	}
	if r.Reference != "" && !peers[r.Reference] {
		return fmt.Errorf("its reference %q is none of its peers", r.Reference)
	}
	type key struct{ scenario, peer string }
	seen := map[key]bool{}
	for i := range r.Results {
		res := &r.Results[i]
		k := key{res.Scenario, res.Peer}
		switch {
		case !peers[res.Peer]:
			return fmt.Errorf("result %d is of %q, which is none of its peers", i+1, res.Peer)
		case seen[k]:
			return fmt.Errorf("it has two results of %q in %q", res.Peer, res.Scenario)
		}
		seen[k] = true
		if err := res.check(); err != nil {
			return fmt.Errorf("%q in %q: %w", res.Peer, res.Scenario, err)
		}
	}
	return nil
}

func (r *Result) check() error {
	if err := CheckName(r.Scenario); err != nil {
		return err
	}
	type key struct{ at, measure string }
	seen := map[key]bool{}
	for i := range r.Figures {
		f := &r.Figures[i]
		k := key{f.At, f.Measure}
		if _, ok := Find(f.Measure); !ok {
			return fmt.Errorf("measure %q is not known", f.Measure)
		}
		if f.At != "" {
			if err := CheckName(f.At); err != nil {
				return err
			}
		}
		switch {
		case seen[k]:
			return fmt.Errorf("it has %s %s twice", f.At, f.Measure)
		case len(f.Samples) == 0 || len(f.Samples) != len(f.Rounds):
			return fmt.Errorf("%s %s has %d samples of %d rounds", f.At, f.Measure, len(f.Samples),
				len(f.Rounds))
		}
		seen[k] = true
	}
	return nil
}

// CheckName refuses names that would break a table or Go's benchmark format.
func CheckName(name string) error {
	bad := strings.ContainsFunc(name, func(c rune) bool {
		return unicode.IsSpace(c) || !unicode.IsPrint(c) || strings.ContainsRune(`/=|"<>&`, c)
	})
	if name == "" || len(name) > nameBytesMax || bad {
		return fmt.Errorf("%.80q is no name: use 1 to %d letters, digits and signs without spaces or "+
			`any of /=|"<>&`, name, nameBytesMax)
	}
	return nil
}
