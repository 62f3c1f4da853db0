package ratelimit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Limits is what each client may send. The zero Limits is no limit.
type Limits struct {
	BytesPerSec uint64 // of received frames; 0 is no limit
	BurstBytes  uint64 // what may come at once after a silence; at least 65568 with a rate
}

// New returns the limits for a configured rate and burst: a burst below 65568 (the longest
// frame) is raised to it, and a rate of 0 makes the burst meaningless, so it is 0 too.
func New(bytesPerSec, burstBytes uint64) Limits {
	if bytesPerSec == 0 {
		return Limits{}
	}
	return Limits{BytesPerSec: bytesPerSec, BurstBytes: max(burstBytes, burstBytesMin)}
}

// String tells the limits as a log line has them.
func (l Limits) String() string {
	if l.BytesPerSec == 0 {
		return "no limit"
	}
	return fmt.Sprintf("%d bytes/s, burst %d bytes", l.BytesPerSec, l.BurstBytes)
}

// The two fields of the file, by derper's names.
const (
	fieldRate  = "PerClientRateLimitBytesPerSec"
	fieldBurst = "PerClientRateBurstBytes"
)

// file is the JSON object in the file. The values are kept as they stand there, so that an
// error can show them. encoding/json finds the fields without regard to case, as derper does.
type file struct {
	Rate  json.RawMessage `json:"PerClientRateLimitBytesPerSec"`
	Burst json.RawMessage `json:"PerClientRateBurstBytes"`
}

// Load reads a rate configuration:
//
//	{"PerClientRateLimitBytesPerSec": 1250000, "PerClientRateBurstBytes": 2500000}
//
// Both are whole numbers of bytes; a missing one is 0, and New's rules apply. Fields of other names
// change nothing, as with derper, whose older files have some; unknown lists them. Errors are one
// sentence with path, value and remedy. It blocks on the file system.
func Load(path string) (lim Limits, unknown []string, err error) {
	if path == "" {
		return Limits{}, nil, errors.New("rate configuration: the path is empty; name a file")
	}
	f, err := os.Open(path)
	if err != nil {
		return Limits{}, nil, fmt.Errorf("rate configuration: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if err != nil {
		return Limits{}, nil, fmt.Errorf("rate configuration: %w", err)
	}
	if lim, unknown, err = parse(b); err != nil {
		return Limits{}, nil, fmt.Errorf("rate configuration %s %w", path, err)
	}
	return lim, unknown, nil
}

// parse reads the bytes of the file. Its errors continue a sentence that begins with the
// file's name.
func parse(b []byte) (lim Limits, unknown []string, err error) {
	if len(b) > fileBytesMax {
		return Limits{}, nil, fmt.Errorf("is longer than %d bytes: is it the right file?",
			fileBytesMax)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return Limits{}, nil, errors.New("is empty: write {} for no limit")
	}
	var f *file // stays nil for null
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&f); err != nil {
		return Limits{}, nil, explain(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return Limits{}, nil, errors.New("has something behind its JSON object: remove it")
	}
	if f == nil {
		return Limits{}, nil, errors.New("is null, not a JSON object: write {} for no limit")
	}
	rate, err := number(fieldRate, f.Rate)
	if err != nil {
		return Limits{}, nil, err
	}
	burst, err := number(fieldBurst, f.Burst)
	if err != nil {
		return Limits{}, nil, err
	}
	return New(rate, burst), unknownFields(b), nil
}

// unknownFields are the names in a JSON object that are no field's, in order.
func unknownFields(b []byte) (names []string) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return nil // parse has read it as an object
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !strings.EqualFold(name, fieldRate) && !strings.EqualFold(name, fieldBurst) {
			names = append(names, name)
		}
	}
	return names
}

func explain(err error) error {
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType):
		return fmt.Errorf("is a JSON %s, not an object: write {\"%s\": 1250000}",
			wrongType.Value, fieldRate)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("is not JSON: it ends in the middle of a value")
	}
	return fmt.Errorf("is not JSON: %w", err)
}

// number reads a field's value: absent and null are 0.
func number(field string, raw json.RawMessage) (uint64, error) {
	text := string(raw)
	if text == "" || text == "null" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("has %s %.40s, more than a 64-bit number: use a smaller one",
			field, text)
	case text[0] == '-':
		return 0, fmt.Errorf("has a negative %s, %.40s: use 0 for no limit, or more", field, text)
	}
	return 0, fmt.Errorf("has %s %.40s: use a whole number of bytes, without quotes", field, text)
}
