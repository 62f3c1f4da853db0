package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"derpd/cmd/internal/commands"
	"derpd/loadgen"
	"derpd/loadgen/host"
	"derpd/loadgen/launch"
)

// targetFlags say what the relays are and what of them is read.
type targetFlags struct {
	flags   *flag.FlagSet // of the command
	plain   bool
	host    string
	allow   string
	metrics string
	pid     string

	launch     string // a relay to start
	launchArgs string
	nodes      int
	cpu        int
	region     *launch.Region // the started one
}

const (
	auto = "auto"
	on   = "on"
	off  = "off"
	// resolveWait bounds the look-up of a name.
	resolveWait = 5 * time.Second
)

// targets are the relays of a command: those of its arguments, or started ones. stop ends the
// latter.
func (f *targetFlags) targets(ctx context.Context, args []string) (all []loadgen.Target,
	stop func(), err error) {
	switch {
	case f.launch == "" && len(args) == 0:
		return nil, nil, commands.Misuse("name the relay, host:port, or one to start with -launch")
	case f.launch == "":
		all, err = f.resolve(ctx, args)
		return all, func() {}, err
	case len(args) > 0:
		return nil, nil, commands.Misuse("%q: with -launch there are no addresses", args[0])
	case f.nodes < 1:
		return nil, nil, commands.Misuse("-nodes %d: at least one relay must run", f.nodes)
	}
	// A processor that is the relay's is the relay's alone.
	undo, err := host.AvoidCPU(f.cpu)
	if err != nil {
		return nil, nil, commands.Misuse("-relay-cpu %d: %w", f.cpu, err)
	}
	f.region, err = launch.Start(ctx, launch.Options{Path: f.launch, Nodes: f.nodes, Plain: f.plain,
		Args: strings.Fields(f.launchArgs), CPU: f.cpu, STUN: true})
	if err != nil {
		undo()
		return nil, nil, err
	}
	return f.region.Targets, func() {
		f.region.Stop()
		undo()
	}, nil
}

// resolve turns the arguments of a command into targets, and refuses those that must not be loaded.
func (f *targetFlags) resolve(ctx context.Context, args []string) ([]loadgen.Target, error) {
	allowed, err := parsePrefixes(f.allow)
	if err != nil {
		return nil, err
	}
	var targets []loadgen.Target
	for _, arg := range args {
		name, port, err := net.SplitHostPort(arg)
		if err != nil {
			return nil, commands.Misuse("%q is no host:port of a relay", arg)
		}
		addr, err := lookUp(ctx, name, port)
		if err != nil {
			return nil, err
		}
		if err := mayLoad(addr.Addr(), allowed); err != nil {
			return nil, err
		}
		t := loadgen.Target{Addr: addr, Host: f.host, Plain: f.plain}
		if t.Host == "" {
			t.Host = name
		}
		if t.Varz, err = f.varz(&t); err != nil {
			return nil, err
		}
		if t.PID, err = f.process(&t); err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, nil
}

func lookUp(ctx context.Context, name, port string) (netip.AddrPort, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return netip.AddrPort{}, commands.Misuse("%q is no port of a relay: give 1 to 65535", port)
	}
	if a, err := netip.ParseAddr(name); err == nil {
		return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveWait)
	defer cancel()
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("relay %q: %w", name, err)
	}
	return netip.AddrPortFrom(all[0].Unmap(), uint16(n)), nil
}

func parsePrefixes(s string) (all []netip.Prefix, err error) {
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		p, err := netip.ParsePrefix(part)
		if err != nil {
			a, err2 := netip.ParseAddr(part)
			if err2 != nil {
				return nil, commands.Misuse("-allow-target %q is neither an address nor a prefix", part)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		all = append(all, p)
	}
	return all, nil
}

// mayLoad keeps the generator from hitting what its user does not own: it stays on this machine, or
// within a network namespace that a test made, unless an address is allowed by name.
func mayLoad(a netip.Addr, allowed []netip.Prefix) error {
	if a.IsLoopback() {
		return nil
	}
	for _, p := range allowed {
		if p.Contains(a) {
			return nil
		}
	}
	if inNamespace() && (a.IsPrivate() || a.IsLinkLocalUnicast()) {
		return nil
	}
	return commands.Misuse("%v is not on this machine: if the relay there is yours to load, say so "+
		"with -allow-target %v", a, a)
}

// inNamespace tells whether this process has another network namespace than the machine's first
// process.
func inNamespace() bool {
	first, err1 := os.Readlink("/proc/1/ns/net")
	own, err2 := os.Readlink("/proc/self/ns/net")
	return err1 == nil && err2 == nil && first != own
}

// varz is the URL of the relay's metrics; auto assumes it where derper and derpd serve it, which is
// for loopback.
func (f *targetFlags) varz(t *loadgen.Target) (string, error) {
	switch f.metrics {
	case off:
		return "", nil
	case auto:
		if !t.Addr.Addr().IsLoopback() {
			return "", nil
		}
	default:
		return f.metrics, nil
	}
	scheme := "https"
	if t.Plain {
		scheme = "http"
	}
	return scheme + "://" + t.Addr.String() + "/debug/varz", nil
}

// process finds the relay's process; auto looks for who listens, and does without if that is not
// to be found out.
func (f *targetFlags) process(t *loadgen.Target) (int, error) {
	switch f.pid {
	case off:
		return 0, nil
	case auto:
		if !t.Addr.Addr().IsLoopback() {
			return 0, nil
		}
		pids, err := host.Listeners(t.Addr)
		if err != nil || len(pids) == 0 {
			return 0, nil
		}
		return pids[0], nil
	}
	pid, err := strconv.Atoi(f.pid)
	if err != nil || pid <= 0 {
		return 0, commands.Misuse("-relay-pid %q is neither a process number nor auto or off", f.pid)
	}
	return pid, nil
}
