package main

import (
	"os/exec"
	"slices"
	"strings"

	"derpd/bench"
	"derpd/bench/runner"
	"derpd/bench/scenario"
	"derpd/cmd/internal/commands"
)

// peers are the values of the flag -peer.
type peers []bench.Peer

func (p *peers) String() string {
	var names []string
	for i := range *p {
		names = append(names, (*p)[i].Name)
	}
	return strings.Join(names, ",")
}

// Marks before a command say what it cannot do, or where it is wanted.
const (
	plainMark  = "plain:"    // it cannot do TLS
	noSTUNMark = "no-stun:"  // it does not answer STUN
	uringMark  = "io_uring:" // it is left out where the kernel refuses that
	noFileMark = "no-files:" // it opens no file for a connection: it may hold more than it may open
	onlyMark   = "only="     // and names of scenarios with commas, up to a colon
)

// Set implements flag.Value: NAME=[plain:][no-stun:][io_uring:][no-files:]
// [only=SCENARIO,...:]PATH [FLAGS].
func (p *peers) Set(s string) error {
	name, command, ok := strings.Cut(s, "=")
	fields := strings.Fields(command)
	if !ok || len(fields) == 0 {
		return commands.Misuse("want NAME=PATH, and flags behind it if there are any")
	}
	if err := bench.CheckName(name); err != nil {
		return err
	}
	for i := range *p {
		if (*p)[i].Name == name {
			return commands.Misuse("name %q is taken", name)
		}
	}
	peer := bench.Peer{Name: name, Args: fields[1:]}
	path := fields[0]
	for marked := true; marked; {
		path, marked = takeMark(&peer, path)
	}
	// As it was written, so that reports of one command agree wherever it was run.
	var err error
	if peer.Path, err = exec.LookPath(path); err != nil {
		return err
	}
	if err := peer.Identify(); err != nil {
		return err
	}
	*p = append(*p, peer)
	return nil
}

// takeMark takes the first mark off a path.
func takeMark(peer *bench.Peer, path string) (rest string, marked bool) {
	for mark, set := range map[string]*bool{plainMark: &peer.Plain, noSTUNMark: &peer.NoSTUN,
		uringMark: &peer.URing, noFileMark: &peer.NoFiles} {
		if rest, ok := strings.CutPrefix(path, mark); ok {
			*set = true
			return rest, true
		}
	}
	if rest, ok := strings.CutPrefix(path, onlyMark); ok {
		names, rest, ok := strings.Cut(rest, ":")
		if ok {
			peer.Only = append(peer.Only, strings.Split(names, ",")...)
			return rest, true
		}
	}
	return path, false
}

// possible leaves those out that need io_uring if there is none, and says so.
func (p peers) possible(uring error) (kept peers, notes []string) {
	for _, peer := range p {
		if peer.URing && uring != nil {
			notes = append(notes, bench.Note(peer.Name, "left out: "+uring.Error()))
			continue
		}
		kept = append(kept, peer)
	}
	return kept, notes
}

// check refuses peers that are wanted in scenarios which are not there.
func (p peers) check(scale *scenario.Scale) error {
	for i := range p {
		for _, name := range p[i].Only {
			if !slices.ContainsFunc(scale.Scenarios, func(s runner.Scenario) bool {
				return s.Name == name
			}) {
				return commands.Misuse("-peer %s: scale %s has no scenario %q", p[i].Name, scale.Name, name)
			}
		}
	}
	return nil
}

// reference is the peer that ratios are of: the one that was named, or else the last whose name
// begins with derper, which is the newest where they are listed in order.
func (p peers) reference(name string) (string, error) {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i].Name == name || name == "" && strings.HasPrefix(p[i].Name, "derper") {
			return p[i].Name, nil
		}
	}
	if name != "" {
		return "", commands.Misuse("-reference %q is none of the peers %s", name, p.String())
	}
	return "", nil
}
