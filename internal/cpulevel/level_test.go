package cpulevel

import (
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
)

func TestReached(t *testing.T) {
	levels := func(v2, v3, v4 bool) []Level {
		return []Level{{"v1", nil}, {"v2", []Feature{{"popcnt", true}, {"pni", v2}}},
			{"v3", []Feature{{"avx2", v3}}}, {"v4", []Feature{{"avx512f", v4}}}}
	}
	for _, tt := range []struct {
		levels []Level
		want   int
	}{
		{nil, 0},
		{levels(false, false, false), 1},
		{levels(true, false, false), 2},
		{levels(true, true, false), 3},
		{levels(true, true, true), 4},
		{levels(false, true, true), 1}, // a hypervisor that hides one
		{levels(true, false, true), 2},
	} {
		if got := Reached(tt.levels); got != tt.want {
			t.Errorf("%v: %d levels are reached, want %d", tt.levels, got, tt.want)
		}
	}
	if got := Lacks(levels(false, true, false)[1].Needs); !slices.Equal(got, []string{"pni"}) {
		t.Errorf("lacks %q", got)
	}
}

func TestSetting(t *testing.T) {
	build := []debug.BuildSetting{{Key: "GOOS", Value: "linux"}, {Key: "GOAMD64", Value: "v3"}}
	if variable, value := settingIn(build, "amd64"); variable != "GOAMD64" || value != "v3" {
		t.Errorf("built for %s=%s, want GOAMD64=v3", variable, value)
	}
	if variable, value := settingIn(build, "arm64"); variable+value != "" {
		t.Errorf("built for %s=%s without a setting", variable, value)
	}
	for name, want := range map[string]int{"v1": 1, "v4": 4, "v9": 0, "": 0} {
		if got := Number(name); got != want {
			t.Errorf("%q is level %d, want %d", name, got, want)
		}
	}
}

// The machine that runs the tests is one that they were built for.
func TestThisProcessor(t *testing.T) {
	variable, value := Setting()
	if runtime.GOARCH == "amd64" && Reached(AMD64()) < max(1, Number(value)) {
		t.Errorf("built with %s=%s, and %d levels are reached", variable, value, Reached(AMD64()))
	}
}
