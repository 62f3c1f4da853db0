package main

import (
	"os/exec"
	"strings"

	"derpd/bench"
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

// Marks before a command say what it cannot do.
const (
	plainMark  = "plain:"   // TLS
	noSTUNMark = "no-stun:" // STUN
)

// Set implements flag.Value: NAME=[plain:][no-stun:]PATH [FLAGS].
func (p *peers) Set(s string) error {
	name, command, ok := strings.Cut(s, "=")
	fields := strings.Fields(command)
	if !ok || len(fields) == 0 {
		return misuse("want NAME=PATH, and flags behind it if there are any")
	}
	if err := bench.CheckName(name); err != nil {
		return err
	}
	for i := range *p {
		if (*p)[i].Name == name {
			return misuse("name %q is taken", name)
		}
	}
	peer := bench.Peer{Name: name, Args: fields[1:]}
	path, plain := strings.CutPrefix(fields[0], plainMark)
	path, noSTUN := strings.CutPrefix(path, noSTUNMark)
	peer.Plain, peer.NoSTUN = plain, noSTUN
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

// reference is the peer that ratios are of: the one that was named, or else the last whose name
// begins with derper, which is the newest where they are listed in order.
func (p peers) reference(name string) (string, error) {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i].Name == name || name == "" && strings.HasPrefix(p[i].Name, "derper") {
			return p[i].Name, nil
		}
	}
	if name != "" {
		return "", misuse("-reference %q is none of the peers %s", name, p.String())
	}
	return "", nil
}
