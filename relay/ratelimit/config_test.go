package ratelimit

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLoad(t *testing.T) {
	for _, test := range []struct {
		text string
		want Limits
		err  string // a part of it; empty if the file is fine
	}{
		{text: `{}`},
		{text: ` {} ` + "\n"},
		{text: `{"PerClientRateLimitBytesPerSec":0}`},
		{text: `{"PerClientRateLimitBytesPerSec":0,"PerClientRateBurstBytes":1000000}`},
		{text: `{"PerClientRateBurstBytes":1000000}`},
		{text: `{"PerClientRateLimitBytesPerSec":null}`},
		{
			text: `{"PerClientRateLimitBytesPerSec":1250000,"PerClientRateBurstBytes":2500000}`,
			want: Limits{1_250_000, 2_500_000},
		},
		{
			text: `{"perclientratelimitbytespersec":5,"PERCLIENTRATEBURSTBYTES":99999}`,
			want: Limits{5, 99999},
		},
		{text: `{"PerClientRateLimitBytesPerSec":1}`, want: Limits{1, 65568}},
		{
			text: `{"PerClientRateLimitBytesPerSec":1,"PerClientRateBurstBytes":65567}`,
			want: Limits{1, 65568},
		},
		{
			text: `{"PerClientRateLimitBytesPerSec":18446744073709551615}`,
			want: Limits{1<<64 - 1, 65568},
		},

		{text: "", err: "is empty"},
		{text: " \n\t", err: "is empty"},
		{text: "null", err: "is null"},
		{text: "PerClientRateLimitBytesPerSec=5", err: "is not JSON"},
		{text: `{"PerClientRateLimitBytesPerSec":5`, err: "ends in the middle"},
		{text: `{"PerClientRateLimitBytesPerSec":5,}`, err: "is not JSON"},
		{text: `[]`, err: "is a JSON array"},
		{text: `5`, err: "is a JSON number"},
		{text: `{"PerClientRateLimitBytesPerSec":-5}`, err: "negative"},
		{text: `{"PerClientRateBurstBytes":-5}`, err: "negative PerClientRateBurstBytes, -5"},
		{text: `{"PerClientRateLimitBytesPerSec":"5"}`, err: "without quotes"},
		{text: `{"PerClientRateLimitBytesPerSec":1.5}`, err: "whole number"},
		{text: `{"PerClientRateLimitBytesPerSec":1e6}`, err: "whole number"},
		{text: `{"PerClientRateLimitBytesPerSec":[1]}`, err: "whole number"},
		{text: `{"PerClientRateLimitBytesPerSec":true}`, err: "whole number"},
		{text: `{"PerClientRateLimitBytesPerSec":18446744073709551616}`, err: "64-bit"},
		{text: `{} {}`, err: "behind its JSON object"},
		{text: `{}}`, err: "behind its JSON object"},
		{text: `{}` + strings.Repeat(" ", fileBytesMax), err: "is longer than"},
	} {
		path := filepath.Join(t.TempDir(), "rate.json")
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, unknown, err := Load(path)
		if got != test.want || len(unknown) > 0 {
			t.Errorf("%.60q: %+v, %q, want %+v", test.text, got, unknown, test.want)
		}
		checkError(t, test.text, err, test.err, path)
	}
}

// TestUnknownFields: what derper's older files have beside the two is told, not refused.
func TestUnknownFields(t *testing.T) {
	lim, unknown, err := parse([]byte(`{"Rate": {"x": 1}, "perclientratelimitbytespersec": 9,
		"GlobalRateLimitBytesPerSec": 5}`))
	want := []string{"GlobalRateLimitBytesPerSec", "Rate"}
	if lim != New(9, 0) || !slices.Equal(unknown, want) || err != nil {
		t.Errorf("%+v, %q, %v; want unknown %q", lim, unknown, err, want)
	}
}

func TestLoadNoFile(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.json")
	_, _, err := Load(missing)
	checkError(t, "a missing file", err, "no such file", missing)
	_, _, err = Load("")
	checkError(t, "no path", err, "path is empty", "")
	dir := t.TempDir()
	_, _, err = Load(dir)
	checkError(t, "a directory", err, "is a directory", dir)
}

func checkError(t *testing.T, what string, err error, want, path string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("%.60q: %v", what, err)
		}
		return
	}
	if err == nil {
		t.Errorf("%.60q: no error, want one with %q", what, want)
		return
	}
	text := err.Error()
	if !strings.Contains(text, want) || !strings.Contains(text, path) ||
		strings.Contains(text, "\n") {
		t.Errorf("%.60q: error %q, want one line with %q and %q", what, text, want, path)
	}
}

func TestLimitsString(t *testing.T) {
	if got := New(0, 5).String(); got != "no limit" {
		t.Error(got)
	}
	if got := New(100, 5).String(); got != "100 bytes/s, burst 65568 bytes" {
		t.Error(got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"PerClientRateLimitBytesPerSec":1250000,"PerClientRateBurstBytes":2500000}`))
	f.Add([]byte(`{"PerClientRateLimitBytesPerSec":-1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		lim, _, err := parse(b)
		if err != nil {
			if lim != (Limits{}) {
				t.Fatalf("limits %+v beside error %v", lim, err)
			}
			return
		}
		if lim != New(lim.BytesPerSec, lim.BurstBytes) {
			t.Fatalf("%q gave %+v, which is not what New makes", b, lim)
		}
		var bucket Bucket
		if wait := bucket.Take(1, &lim, frameBytesMax); wait != 0 {
			t.Fatalf("%+v: a full bucket gave a wait of %v for one frame", lim, wait)
		}
	})
}
