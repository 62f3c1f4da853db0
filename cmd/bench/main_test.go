package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestCommandLine(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	peer := "-peer=a=" + exe
	for _, c := range []struct {
		args   []string
		status int
		want   string // somewhere in the output
	}{
		{nil, exitUsage, "bench idle"},
		{[]string{"help"}, 0, "bench overload"},
		{[]string{"dance"}, exitUsage, `no command "dance"`},
		{[]string{"idle", "-help"}, 0, "-settle"},
		{[]string{"idle"}, exitUsage, "nothing to measure"},
		{[]string{"idle", "-peer", "x"}, exitUsage, "want name=/path"},
		{[]string{"idle", "-peer", "x=/nowhere/at/all"}, exitUsage, "/nowhere/at/all"},
		{[]string{"idle", peer, peer}, exitUsage, `name "a" is taken`},
		{[]string{"idle", peer, "more"}, exitUsage, `"more" is no flag`},
		{[]string{"idle", peer, "-clients", "0"}, exitNoRun, "-clients must be at least 1"},
		{[]string{"idle", peer, "-clients", "999999999"}, exitNoRun, "open files"},
		{[]string{"overload", peer, "-rounds", "0"}, exitNoRun, "must be positive"},
		{[]string{"overload", peer, "-pairs", "0"}, exitNoRun, "at least one"},
		{[]string{"overload", peer, "-ladder", "10,x"}, exitUsage, `"x" is no rate`},
		{[]string{"overload", peer, "-ladder", "10,10"}, exitUsage, "does not ascend"},
		{[]string{"rate", peer, "-size", "3"}, exitNoRun, "payload of 3 bytes"},
		{[]string{"rate", peer, "-pps", "0"}, exitNoRun, "must be positive"},
	} {
		var out bytes.Buffer
		if got := run(t.Context(), c.args, &out, &out); got != c.status {
			t.Errorf("%q: status %d, want %d\n%s", c.args, got, c.status, &out)
		}
		if !strings.Contains(out.String(), c.want) {
			t.Errorf("%q: no %q in\n%s", c.args, c.want, &out)
		}
	}
}

func TestParseLadder(t *testing.T) {
	got, err := parseLadder("10, 2e3,30000")
	if err != nil || len(got) != 3 || got[1] != 2000 {
		t.Errorf("%v, %v", got, err)
	}
}
