package main

import (
	"fmt"
	"strings"

	"derpd/internal/cpulevel"
)

// What the processor has and what the program was built for.
var (
	amd64Levels  = cpulevel.AMD64
	levelSetting = cpulevel.Setting
)

// checkProcessor fails if the processor lacks what this program was built for.
func checkProcessor() error {
	variable, value := levelSetting()
	return refuse(variable, value, cpulevel.Lacks(needs(variable, value)))
}

// needs is what a build for that setting assumes.
func needs(variable, value string) (all []cpulevel.Feature) {
	switch variable {
	case "GOAMD64":
		for _, l := range amd64Levels() {
			all = append(all, l.Needs...)
			if l.Name == value {
				return all
			}
		}
		return nil // a step that is not known here is the runtime's to judge
	case "GOARM64":
		version, options, _ := strings.Cut(value, ",")
		lse, crypto := cpulevel.ARM64()
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
func betterBuild(variable, value string, levels []cpulevel.Level) string {
	if variable != "GOAMD64" || value != "v1" && value != "v2" {
		return ""
	}
	for _, l := range levels[:cpulevel.Reached(levels)] {
		if l.Name == "v3" {
			return "derpd-linux-amd64-v3"
		}
	}
	return ""
}
