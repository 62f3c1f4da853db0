package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// event is a line of `go test -json` (go doc test2json), and, of some fields, of the file.
type event struct {
	Action  string
	Package string `json:",omitempty"`
	Test    string `json:",omitempty"`
	Output  string `json:",omitempty"`
	Peer    string `json:",omitempty"` // the relay that the tests ran against, if not derpd
}

// lineMax bounds a line of the input. A test that logs megabytes in one line ends the run.
const lineMax = 64 << 20

func main() {
	args := os.Args[1:]
	verbose := len(args) > 0 && args[0] == "-v"
	if verbose {
		args = args[1:]
	}
	if len(args) != 1 {
		fail("usage: testlog [-v] FILE")
	}
	f, err := os.Create(args[0])
	if err != nil {
		fail("%v", err)
	}
	l := log{verbose: verbose, verdicts: json.NewEncoder(f), output: map[string][]string{},
		peer: os.Getenv("INTEROP_PEER")}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, lineMax)
	for in.Scan() {
		l.line(in.Bytes())
	}
	if err := in.Err(); err != nil {
		fail("reading the output of go test: %v", err)
	}
	if err := f.Close(); err != nil {
		fail("%v", err)
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "testlog: "+format+"\n", args...)
	os.Exit(1)
}

// log prints and keeps.
type log struct {
	verbose  bool
	verdicts *json.Encoder
	output   map[string][]string // of tests that have no verdict yet, by package and name
	peer     string
}

// line takes one line of the input. What is no event, such as the message of a build that
// failed in old versions of go, is printed as it is.
func (l *log) line(b []byte) {
	var e event
	if err := json.Unmarshal(b, &e); err != nil || e.Action == "" {
		fmt.Printf("%s\n", b)
		return
	}
	id := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		l.print(e, id)
	case "build-output":
		fmt.Print(e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			l.unfinished(e)
			return
		}
		if e.Action == "fail" || e.Action == "skip" && l.lacks(id) {
			l.say(id)
		}
		delete(l.output, id)
		e.Peer = l.peer
		if err := l.verdicts.Encode(e); err != nil {
			fail("%v", err)
		}
	}
}

// print prints the output of a package, and keeps that of a test until its verdict.
func (l *log) print(e event, id string) {
	switch {
	case l.verbose:
		fmt.Print(e.Output)
	case e.Test != "":
		if !strings.HasPrefix(e.Output, "=== ") {
			l.output[id] = append(l.output[id], e.Output)
		}
	case e.Output != "PASS\n":
		fmt.Print(e.Output)
	}
}

// unfinished prints what tests had to say that the end of their process overtook.
func (l *log) unfinished(e event) {
	if e.Action != "fail" {
		return
	}
	for id := range l.output {
		if strings.HasPrefix(id, e.Package+" ") {
			l.say(id)
			delete(l.output, id)
		}
	}
}

// lacks tells whether a test was skipped for what the machine lacks, and not because it is left to
// another target or has nothing to do with a case.
func (l *log) lacks(id string) bool {
	said := strings.Join(l.output[id], "")
	for _, word := range []string{"io_uring", "not available", "root", "processors", "tracefs"} {
		if strings.Contains(said, word) {
			return true
		}
	}
	return false
}

func (l *log) say(id string) {
	for _, s := range l.output[id] {
		fmt.Print(s)
	}
}
