package httpd

import (
	"runtime"

	"derpd/internal/cpulevel"
)

// amd64Levels are what this machine can run and what derpd was built for, 0 if the build does not
// say. ok is false on other architectures.
func amd64Levels() (levels [2]int, ok bool) {
	if runtime.GOARCH != "amd64" {
		return levels, false
	}
	_, value := cpulevel.Setting()
	return [2]int{cpulevel.Reached(cpulevel.AMD64()), cpulevel.Number(value)}, true
}
