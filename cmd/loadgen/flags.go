package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"derpd/cmd/internal/commands"
	"derpd/loadgen"
	"derpd/loadgen/workloads"
	"derpd/netpoll"
)

// jobFlags are the flags of all commands that log clients in.
type jobFlags struct {
	targetFlags
	workload  string
	params    workloads.Params
	options   loadgen.Options
	sources   string
	ahead     int64
	processes int
	busy      string
	engine    string
}

const (
	clientsMax = 1_000_000
	aheadMB    = 256
	// seedMax is the largest seed that is drawn: programs that read JSON as floating point keep it.
	seedMax = 1<<53 - 1
)

// declare declares all of them; a command that has a meaning of its own for the workload's declares
// only the others.
func (f *jobFlags) declare(fs *flag.FlagSet) {
	f.declareTarget(fs)
	f.declareWorkload(fs)
	f.declareEngine(fs)
}

func (f *jobFlags) declareTarget(fs *flag.FlagSet) {
	f.flags = fs
	fs.BoolVar(&f.plain, "plain", false, "TCP without TLS instead of TLS")
	fs.StringVar(&f.host, "host", "", "TLS server `name` and HTTP Host; default: the host of "+
		"ADDRESS. The certificate is not verified")
	fs.StringVar(&f.allow, "allow-target", "", "`addresses` or prefixes, with commas, that may be "+
		"loaded though they are not on this machine")
	fs.StringVar(&f.metrics, "metrics", auto, "`URL` of the relay's metrics, from which its drops "+
		"are read; auto is /debug/varz of a relay on loopback, off is none")
	fs.StringVar(&f.launch, "launch", "", "`file` of a relay to start on loopback, that takes "+
		"derper's flags, instead of an ADDRESS")
	fs.StringVar(&f.launchArgs, "launch-args", "", "more `flags` for it, separated by spaces")
	fs.IntVar(&f.nodes, "nodes", 1, "relays to start, meshed with each other")
	fs.IntVar(&f.cpu, "relay-cpu", -1, "processor for the started relays alone; -1 is any")
	fs.StringVar(&f.pid, "relay-pid", auto, "process `number` of the relay, for its CPU and memory; "+
		"auto is who listens on a loopback ADDRESS, off is none")
}

func (f *jobFlags) declareWorkload(fs *flag.FlagSet) {
	fs.StringVar(&f.workload, "workload", "chatter", "`name` of a workload, see loadgen workloads")
	fs.IntVar(&f.params.Clients, "clients", 0, "clients, all together, where a workload has silent "+
		"ones; 0 is the workload's own")
	fs.Float64Var(&f.params.Active, "active", 0, "`share` of the clients that talk, 0 to 1, in "+
		"chatter; 0 is its own")
	fs.IntVar(&f.params.Pairs, "pairs", 0, "pairs, senders or sockets of the workload; 0 is its own")
	fs.IntVar(&f.params.Size, "size", 0, "`bytes` of a packet; 0 is the workload's own")
	fs.IntVar(&f.params.Frames, "frames", 0, "frames in a write; 0 is the workload's own")
	fs.IntVar(&f.params.Port, "stun-port", 0, "UDP `port` of STUN; 0 is 3478")
}

func (f *jobFlags) declareEngine(fs *flag.FlagSet) {
	fs.StringVar(&f.sources, "sources", "", "local `addresses`, with commas, that clients connect "+
		"from; default: any, or many of 127.0.0.0/8 for a relay on loopback")
	fs.Uint64Var(&f.options.Seed, "seed", 0, "of keys, schedules and contents, to repeat a run; 0 is "+
		"a new one, which the report says: machines that load the same relays must not have the same")
	fs.IntVar(&f.options.Loops, "loops", 0, "event loops; 0 is one for each processor but one")
	fs.StringVar(&f.engine, "engine", auto, "what loops run on: epoll; io_uring, which holds more "+
		"connections than a process may open files; or auto: io_uring only for that")
	fs.IntVar(&f.processes, "processes", 0, "processes to hold the clients; 0 is one, or without "+
		"io_uring as many as the limit of open files asks for")
	fs.IntVar(&f.options.LoginsAt, "logins-at-once", 64, "logins in flight, of each process")
	fs.Float64Var(&f.options.PerSec, "ramp", 0, "logins begun a `second`; 0 is as fast as they go")
	fs.DurationVar(&f.options.LoginFor, "login-timeout", 10*time.Second, "of one login")
	fs.Int64Var(&f.ahead, "ahead", aheadMB, "`MiB` of records that may be sealed before they are due")
	fs.IntVar(&f.options.Sampled, "sampled", 64, "of `N` records that come one is opened and "+
		"compared whole; of the others the heads of the frames are looked at. 1 opens all")
	fs.StringVar(&f.options.FastLog, "fast-start", auto, "auto sends the login with the request "+
		"where the relay shows its key in the TLS handshake; off never does")
	fs.StringVar(&f.busy, "busy", auto, "poll without sleeping, so that the relay is not charged "+
		"for waking the generator: on, off, or auto, if each loop has a processor and one is left")
	fs.BoolVar(&f.options.X25519, "x25519", false, "TLS key exchange without the post-quantum share")
}

// rates are packets a second, one after the other.
type rates []float64

func (r *rates) String() string {
	var s []string
	for _, v := range *r {
		s = append(s, strconv.FormatFloat(v, 'f', -1, 64))
	}
	return strings.Join(s, ",")
}

// Set implements flag.Value.
func (r *rates) Set(s string) error {
	*r = nil
	for _, part := range strings.Split(s, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil || v < 0 || v > 1e9 {
			return fmt.Errorf("%q is no rate in packets a second", part)
		}
		*r = append(*r, v)
	}
	return nil
}

// named is the workload that the flags name. rate is 0 for full speed.
func (f *jobFlags) named(rate float64) (loadgen.Workload, error) {
	n, err := workloads.Find(f.workload)
	if err != nil {
		return loadgen.Workload{}, commands.Misused(err)
	}
	w, err := n.Build(f.params, rate)
	if err != nil {
		return loadgen.Workload{}, commands.Misused(err)
	}
	return w, nil
}

// job makes the job of a workload that the flags ask for, without its targets.
func (f *jobFlags) job(w loadgen.Workload) (loadgen.Job, error) {
	switch {
	case f.params.Clients > clientsMax:
		return loadgen.Job{}, commands.Misuse("-clients %d is more than %d", f.params.Clients, clientsMax)
	case f.ahead < 0 || f.ahead > 1<<20:
		return loadgen.Job{}, commands.Misuse("-ahead %d: choose 0 to %d MiB", f.ahead, 1<<20)
	case f.options.Loops < 0 || f.options.Loops > 256 || f.processes < 0:
		return loadgen.Job{}, commands.Misuse("-loops %d, -processes %d: choose 0 to 256 loops and no "+
			"negative number of processes", f.options.Loops, f.processes)
	case f.engine != auto && f.engine != string(netpoll.EngineEpoll) &&
		f.engine != string(netpoll.EngineURing):
		return loadgen.Job{}, commands.Misuse("-engine %q is none of auto, epoll and io_uring", f.engine)
	case f.busy != auto && f.busy != on && f.busy != off:
		return loadgen.Job{}, commands.Misuse("-busy %q is none of auto, on and off", f.busy)
	case f.options.FastLog != auto && f.options.FastLog != off:
		return loadgen.Job{}, commands.Misuse("-fast-start %q is neither auto nor off", f.options.FastLog)
	case f.options.PerSec < 0 || f.options.LoginsAt < 1 || f.options.LoginFor <= 0 ||
		f.options.Sampled < 1:
		return loadgen.Job{}, commands.Misuse("-ramp must not be negative; -logins-at-once, " +
			"-login-timeout and -sampled must be above 0")
	}
	if err := f.checkTarget(); err != nil {
		return loadgen.Job{}, err
	}
	if n := w.Clients(); n > clientsMax {
		return loadgen.Job{}, commands.Misuse("the workload has %d clients, more than %d", n, clientsMax)
	}
	o := f.options
	if o.Seed == 0 {
		o.Seed = 1 + rand.Uint64N(seedMax)
	}
	o.Ahead = f.ahead << 20
	for _, s := range strings.FieldsFunc(f.sources, func(r rune) bool { return r == ',' }) {
		o.Sources = append(o.Sources, strings.TrimSpace(s))
	}
	return loadgen.Job{Workload: w, Options: o}, nil
}

// version is the program's, with the commit it was built from if that is known.
func version() string {
	v := "0.1.0"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			v += "-" + s.Value[:12]
		}
	}
	return v
}
