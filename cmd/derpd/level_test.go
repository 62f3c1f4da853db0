package main

import (
	"slices"
	"strings"
	"testing"

	"derpd/internal/cpulevel"
)

func TestNeeds(t *testing.T) {
	for _, tt := range []struct {
		variable, value string
		want            []string // the first and the last
		count           int
	}{
		{"", "", nil, 0},
		{"GOAMD64", "v1", nil, 0},
		{"GOAMD64", "v2", []string{"pni", "lahf_lm"}, 7},
		{"GOAMD64", "v3", []string{"pni", "movbe"}, 15},
		{"GOAMD64", "v4", []string{"pni", "avx512vl"}, 20},
		{"GOAMD64", "v9", nil, 0},
		{"GOARM64", "v8.0", nil, 0},
		{"GOARM64", "v8.0,lse", []string{"atomics", "atomics"}, 1},
		{"GOARM64", "v8.0,crypto", []string{"aes", "sha2"}, 4},
		{"GOARM64", "v8.2", []string{"atomics", "atomics"}, 1},
		{"GOARM64", "v8.2,crypto", []string{"atomics", "sha2"}, 5},
		{"GOARM64", "v9.0,lse,crypto", []string{"atomics", "sha2"}, 5},
	} {
		got := needs(tt.variable, tt.value)
		if len(got) != tt.count || tt.count > 0 &&
			(got[0].Name != tt.want[0] || got[len(got)-1].Name != tt.want[1]) {
			t.Errorf("%s=%s needs %v", tt.variable, tt.value, got)
		}
	}
}

// features are what a processor has, or lacks if a name begins with a dash.
func features(names ...string) (all []cpulevel.Feature) {
	for _, name := range names {
		name, lacks := strings.CutPrefix(name, "-")
		all = append(all, cpulevel.Feature{Name: name, Has: !lacks})
	}
	return all
}

func TestRefuse(t *testing.T) {
	for _, tt := range []struct {
		variable, value string
		needed          []cpulevel.Feature
		want            string
	}{
		{"GOAMD64", "v3", nil, ""},
		{"GOAMD64", "v3", features("avx", "avx2"), ""},
		{"GOAMD64", "v3", features("avx", "-avx2", "-bmi1"),
			"built with GOAMD64=v3, but this processor lacks avx2, bmi1: take " +
				"derpd-linux-amd64-v1, which runs on every one of the architecture"},
		{"GOARM64", "v8.0,crypto", features("-aes", "sha2"),
			"built with GOARM64=v8.0,crypto, but this processor lacks aes: take " +
				"derpd-linux-arm64-v8.0, which runs on every one of the architecture"},
	} {
		got := ""
		if err := refuse(tt.variable, tt.value, cpulevel.Lacks(tt.needed)); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s=%s: %q, want %q", tt.variable, tt.value, got, tt.want)
		}
	}
}

func TestBetterBuild(t *testing.T) {
	levels := func(v2, v3, v4 bool) []cpulevel.Level {
		need := func(name string, has bool) []cpulevel.Feature {
			return []cpulevel.Feature{{Name: name, Has: has}}
		}
		return []cpulevel.Level{{Name: "v1"}, {Name: "v2", Needs: need("popcnt", v2)},
			{Name: "v3", Needs: need("avx2", v3)}, {Name: "v4", Needs: need("avx512f", v4)}}
	}
	const v3 = "derpd-linux-amd64-v3"
	for _, tt := range []struct {
		variable, value string
		levels          []cpulevel.Level
		want            string
	}{
		{"GOAMD64", "v1", levels(true, true, false), v3},
		{"GOAMD64", "v2", levels(true, true, true), v3},
		{"GOAMD64", "v1", levels(true, false, false), ""},
		{"GOAMD64", "v1", levels(false, true, false), ""}, // a hypervisor that hides one
		{"GOAMD64", "v3", levels(true, true, true), ""},
		{"GOAMD64", "v4", levels(true, true, true), ""},
		{"GOARM64", "v8.0", levels(true, true, true), ""},
		{"", "", levels(true, true, true), ""},
	} {
		if got := betterBuild(tt.variable, tt.value, tt.levels); got != tt.want {
			t.Errorf("%s=%s: %q, want %q", tt.variable, tt.value, got, tt.want)
		}
	}
}

// The machine that runs the tests is one that the tests were built for.
func TestThisProcessor(t *testing.T) {
	if err := checkProcessor(); err != nil {
		t.Error(err)
	}
	variable, _ := levelSetting()
	if !slices.Contains([]string{"", "GOAMD64", "GOARM64"}, variable) {
		t.Errorf("the build says %q", variable)
	}
}
