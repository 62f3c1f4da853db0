package cpulevel

import (
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/cpu"
)

// Feature is something that a processor may be able to do.
type Feature struct {
	Name string // as /proc/cpuinfo has it
	Has  bool
}

// Level is a step of an architecture that Go builds for, by GOAMD64, and what it assumes beyond
// the step before.
type Level struct {
	Name  string
	Needs []Feature
}

// AMD64 are the steps of the x86-64 ABI that Go knows (go help environment). The runtime looks
// before main and ends a program that was built for more, with status 1.
func AMD64() []Level {
	x := &cpu.X86
	return []Level{
		{"v1", nil},
		{"v2", []Feature{{"pni", x.HasSSE3}, {"ssse3", x.HasSSSE3}, {"cx16", x.HasCX16},
			{"sse4_1", x.HasSSE41}, {"sse4_2", x.HasSSE42}, {"popcnt", x.HasPOPCNT},
			{"lahf_lm", x.HasLAHF}}},
		{"v3", []Feature{{"avx", x.HasAVX}, {"avx2", x.HasAVX2}, {"bmi1", x.HasBMI1},
			{"bmi2", x.HasBMI2}, {"f16c", x.HasF16C}, {"fma", x.HasFMA}, {"abm", x.HasLZCNT},
			{"movbe", x.HasMOVBE}}},
		{"v4", []Feature{{"avx512f", x.HasAVX512F}, {"avx512bw", x.HasAVX512BW},
			{"avx512cd", x.HasAVX512CD}, {"avx512dq", x.HasAVX512DQ},
			{"avx512vl", x.HasAVX512VL}}},
	}
}

// ARM64 is what GOARM64 may assume. The runtime looks for none but lse.
func ARM64() (lse, crypto []Feature) {
	a := &cpu.ARM64
	return []Feature{{"atomics", a.HasATOMICS}}, []Feature{{"aes", a.HasAES},
		{"pmull", a.HasPMULL}, {"sha1", a.HasSHA1}, {"sha2", a.HasSHA2}}
}

// Reached is how many of these levels a processor reaches, each on top of the one before.
func Reached(levels []Level) (n int) {
	for _, l := range levels {
		if len(Lacks(l.Needs)) > 0 {
			break
		}
		n++
	}
	return n
}

// Lacks names what is needed and not there.
func Lacks(needed []Feature) (names []string) {
	for _, f := range needed {
		if !f.Has {
			names = append(names, f.Name)
		}
	}
	return names
}

// Setting is what this program was built for: GOAMD64 or GOARM64 and its value; both are empty if
// the build does not say.
func Setting() (variable, value string) {
	if info, ok := debug.ReadBuildInfo(); ok {
		return settingIn(info.Settings, runtime.GOARCH)
	}
	return "", ""
}

func settingIn(build []debug.BuildSetting, arch string) (variable, value string) {
	variable = "GO" + strings.ToUpper(arch)
	for _, s := range build {
		if s.Key == variable {
			return variable, s.Value
		}
	}
	return "", ""
}

// Number is the number of an AMD64 level, 1 for v1; 0 if there is none of that name.
func Number(name string) int {
	for i, l := range AMD64() {
		if l.Name == name {
			return i + 1
		}
	}
	return 0
}
