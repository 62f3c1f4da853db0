package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestLoopsFirst looks at the threads of a derpd with three loops and at those that it starts
// later, for the requests that it is asked.
func TestLoopsFirst(t *testing.T) {
	const loops = 3
	r := startProgram(t, "-demo", "-a", "127.0.0.1:0", "-stun-port", "0", "-http-port", "-1",
		"-loops", strconv.Itoa(loops))
	nice := func() (as map[int]int) {
		as = map[int]int{}
		stats, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(r.cmd.Process.Pid),
			"task/*/stat"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range stats {
			b, err := os.ReadFile(path)
			if err != nil {
				continue // it has ended
			}
			_, fields, _ := strings.Cut(string(b), ") ") // behind the name: proc(5) counts from 3
			n, err := strconv.Atoi(strings.Fields(fields)[19-3])
			if err != nil {
				t.Fatal(err)
			}
			as[n]++
		}
		return as
	}
	ours, err := niceOf(0)
	if err != nil {
		t.Fatal(err)
	}
	others := min(ours+othersNice, 19)
	settled := func() bool {
		as := nice()
		return as[ours] == loops && as[others] > 0 && len(as) == 2
	}
	r.wait(t, "put its loops first", settled)
	for range 20 {
		r.login(t, r.dial(t, true))
	}
	r.wait(t, "keep its loops first", settled)
}
