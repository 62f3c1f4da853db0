package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/cpu"
)

// feature is something that a processor may be able to do.
type feature struct {
	name string // as /proc/cpuinfo has it
	has  bool
}

// level is a step of an architecture that Go builds for, by GOAMD64 or GOARM64, and what it
// assumes beyond the step before.
type level struct {
	name  string
	needs []feature
}

// amd64Levels are the steps of the x86-64 ABI that Go knows (go help environment). The runtime
// looks before main and ends a program that was built for more, with status 1; a build for v1 looks
// here for what it could have more of.
func amd64Levels() []level {
	x := &cpu.X86
	return []level{
		{"v1", nil},
		{"v2", []feature{{"pni", x.HasSSE3}, {"ssse3", x.HasSSSE3}, {"cx16", x.HasCX16},
			{"sse4_1", x.HasSSE41}, {"sse4_2", x.HasSSE42}, {"popcnt", x.HasPOPCNT},
			{"lahf_lm", x.HasLAHF}}},
		{"v3", []feature{{"avx", x.HasAVX}, {"avx2", x.HasAVX2}, {"bmi1", x.HasBMI1},
			{"bmi2", x.HasBMI2}, {"f16c", x.HasF16C}, {"fma", x.HasFMA}, {"abm", x.HasLZCNT},
			{"movbe", x.HasMOVBE}}},
		{"v4", []feature{{"avx512f", x.HasAVX512F}, {"avx512bw", x.HasAVX512BW},
			{"avx512cd", x.HasAVX512CD}, {"avx512dq", x.HasAVX512DQ},
			{"avx512vl", x.HasAVX512VL}}},
	}
}

// arm64Options are what GOARM64 may assume. The runtime looks for none but lse.
func arm64Options() (lse, crypto []feature) {
	a := &cpu.ARM64
	return []feature{{"atomics", a.HasATOMICS}}, []feature{{"aes", a.HasAES},
		{"pmull", a.HasPMULL}, {"sha1", a.HasSHA1}, {"sha2", a.HasSHA2}}
}

// levelSetting is what this program was built for: GOAMD64 or GOARM64 and its value; both are empty
// if the build does not say.
func levelSetting() (variable, value string) {
	variable = "GO" + strings.ToUpper(runtime.GOARCH)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == variable {
				return variable, s.Value
			}
		}
	}
	return "", ""
}

// checkProcessor fails if the processor lacks what this program was built for.
func checkProcessor() error {
	variable, value := levelSetting()
	return refuse(variable, value, lacks(needs(variable, value)))
}

// needs is what a build for that setting assumes.
func needs(variable, value string) (all []feature) {
	switch variable {
	case "GOAMD64":
		for _, l := range amd64Levels() {
			all = append(all, l.needs...)
			if l.name == value {
				return all
			}
		}
		return nil // a step that is not known here is the runtime's to judge
	case "GOARM64":
		version, options, _ := strings.Cut(value, ",")
		lse, crypto := arm64Options()
		// Large System Extensions are part of every version but the first.
		if version != "v8.0" && version != "" || strings.Contains(options, "lse") {
			all = append(all, lse...)
		}
		if strings.Contains(options, "crypto") {
			all = append(all, crypto...)
		}
	}
	return all
}

// lacks names what is needed and not there.
func lacks(needed []feature) (names []string) {
	for _, f := range needed {
		if !f.has {
			names = append(names, f.name)
		}
	}
	return names
}

// refuse says what is wrong and which build to take instead; nil if nothing is lacking.
func refuse(variable, value string, lacking []string) error {
	if len(lacking) == 0 {
		return nil
	}
	instead := "derpd-linux-amd64-v1"
	if variable == "GOARM64" {
		instead = "derpd-linux-arm64-v8.0"
	}
	return fmt.Errorf("built with %s=%s, but this processor lacks %s: take %s, which runs on every "+
		"one of the architecture", variable, value, strings.Join(lacking, ", "), instead)
}

// betterBuild names the released build that this processor could run instead of one for that
// setting, or nothing: of arm64 there is one.
func betterBuild(variable, value string, levels []level) string {
	if variable != "GOAMD64" || value != "v1" && value != "v2" {
		return ""
	}
	for _, l := range levels {
		if len(lacks(l.needs)) > 0 {
			return ""
		}
		if l.name == "v3" {
			return "derpd-linux-amd64-v3"
		}
	}
	return ""
}
