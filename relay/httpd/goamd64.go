package httpd

import (
	"os"
	"runtime"
	buildinfo "runtime/debug"
	"slices"
	"strings"
	"sync"
)

// amd64Flags are, by level of the x86-64 psABI from the second on, what the flags of
// /proc/cpuinfo must have beside those of the levels below (pni is SSE3, abm is LZCNT).
var amd64Flags = [][]string{
	{"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"},
	{"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"},
	{"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}

// amd64Level is the level of a processor with these flags.
func amd64Level(flags []string) int {
	level := 1
	for _, needed := range amd64Flags {
		for _, flag := range needed {
			if !slices.Contains(flags, flag) {
				return level
			}
		}
		level++
	}
	return level
}

// amd64Levels are what this machine can run and what derpd was built for; 0 if it cannot be
// told. ok is false on other architectures.
var amd64Levels = sync.OnceValues(func() (levels [2]int, ok bool) {
	if runtime.GOARCH != "amd64" {
		return levels, false
	}
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, flags, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "flags" {
			levels[0] = amd64Level(strings.Fields(flags))
			break
		}
	}
	if build, found := buildinfo.ReadBuildInfo(); found {
		levels[1] = builtFor(build.Settings)
	}
	return levels, true
})

// builtFor is the level in the settings of a build, GOAMD64=v1 to v4.
func builtFor(settings []buildinfo.BuildSetting) int {
	for _, s := range settings {
		if s.Key == "GOAMD64" && len(s.Value) == 2 && s.Value[0] == 'v' {
			return int(s.Value[1] - '0')
		}
	}
	return 0
}
