package ratelimit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
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
// Both are whole numbers of bytes; a missing one is 0, and New's rules apply. Errors are one
// sentence with path, value and remedy. It blocks on the file system.
func Load(path string) (Limits, error) {
	if path == "" {
		return Limits{}, errors.New("rate configuration: the path is empty; name a file")
	}
	f, err := os.Open(path)
	if err != nil {
		return Limits{}, fmt.Errorf("rate configuration: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if err != nil {
		return Limits{}, fmt.Errorf("rate configuration: %w", err)
	}
	lim, err := parse(b)
	if err != nil {
		return Limits{}, fmt.Errorf("rate configuration %s %w", path, err)
	}
	return lim, nil
}

// parse reads the bytes of the file. Its errors continue a sentence that begins with the
// file's name.
func parse(b []byte) (Limits, error) {
	if len(b) > fileBytesMax {
		return Limits{}, fmt.Errorf("is longer than %d bytes: is it the right file?",
			fileBytesMax)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return Limits{}, errors.New("is empty: write {} for no limit")
	}
	var f *file // stays nil for null
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return Limits{}, explain(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return Limits{}, errors.New("has something behind its JSON object: remove it")
	}
	if f == nil {
		return Limits{}, errors.New("is null, not a JSON object: write {} for no limit")
	}
	rate, err := number(fieldRate, f.Rate)
	if err != nil {
		return Limits{}, err
	}
	burst, err := number(fieldBurst, f.Burst)
	if err != nil {
		return Limits{}, err
	}
	return New(rate, burst), nil
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
	// The package has no type for this error.
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("has an unknown field %s: the fields are %s and %s", name, fieldRate,
			fieldBurst)
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
