package loadgen

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Failure is a class of what can go wrong with a client. One is told in one line with its count and
// an example; the rest of the clients go on.
type Failure string

// The classes, with their side: this machine, the way, or the relay.
const (
	FailLocal    Failure = "local"    // no port, descriptor or memory here
	FailRefused  Failure = "refused"  // connection refused
	FailUnreach  Failure = "unreach"  // no route, or no answer to the SYN
	FailTimeout  Failure = "timeout"  // the login took too long
	FailTLS      Failure = "tls"      // handshake
	FailHTTP     Failure = "http"     // another answer than a switch to DERP
	FailProtocol Failure = "protocol" // what came is not DERP
	FailReset    Failure = "reset"    // by the relay, when logged in
	FailClosed   Failure = "closed"   // by the relay, when logged in
	FailLogin    Failure = "login"    // closed by the relay before the login was answered
	FailSilent   Failure = "silent"   // no Pong at the end
)

// Failures counts by class, with one example of each.
type Failures map[Failure]*FailureCount

// FailureCount is one class.
type FailureCount struct {
	Count   uint64 `json:"count"`
	Example string `json:"example,omitempty"`
}

// Add counts one; the first example stays.
func (f *Failures) Add(class Failure, n uint64, example string) {
	if *f == nil {
		*f = Failures{}
	}
	c := (*f)[class]
	if c == nil {
		c = &FailureCount{}
		(*f)[class] = c
	}
	c.Count += n
	if c.Example == "" {
		c.Example = example
	}
}

// Merge adds the counts of another.
func (f *Failures) Merge(other Failures) {
	for class, c := range other {
		f.Add(class, c.Count, c.Example)
	}
}

// Sum counts over all classes.
func (f Failures) Sum() (n uint64) {
	for _, c := range f {
		n += c.Count
	}
	return n
}

// Lines tells each class in a line.
func (f Failures) Lines() (lines []string) {
	for _, class := range slices.Sorted(maps.Keys(f)) {
		line := fmt.Sprintf("%s: %d", class, f[class].Count)
		if f[class].Example != "" {
			line += ", such as: " + strings.ReplaceAll(f[class].Example, "\n", " ")
		}
		lines = append(lines, line)
	}
	return lines
}
