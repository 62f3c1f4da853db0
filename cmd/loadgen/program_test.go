package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"derpd/cmd/internal/commands"
	"derpd/loadgen"
	"derpd/loadgen/plan"
	"derpd/loadgen/report"
	"derpd/loadgen/scrape"
)

const exitMisuse = commands.ExitMisuse

// asMain makes the test binary the program: tests run it as a process of its own, and it starts
// itself as its workers.
const asMain = "LOADGEN_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
	}
	os.Exit(m.Run())
}

// relayBinary builds derpd once for all tests.
var relayBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "loadgen-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "derpd")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "derpd/cmd/derpd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

func relay(t *testing.T) string {
	t.Helper()
	path, err := relayBinary()
	if err != nil {
		t.Fatalf("build derpd: %v", err)
	}
	return path
}

// program is one run of loadgen.
type program struct {
	*exec.Cmd
	out, errs bytes.Buffer
}

func start(t *testing.T, args ...string) *program {
	t.Helper()
	p := &program{Cmd: exec.Command(os.Args[0], args...)}
	p.Env = append(os.Environ(), asMain+"=1")
	p.Stdout, p.Stderr = &p.out, &p.errs
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() }) // of one that has not ended by itself
	return p
}

// ended waits for the program and tells how it ended.
func (p *program) ended() (code int) {
	timer := time.AfterFunc(time.Minute, func() { _ = p.Process.Kill() })
	defer timer.Stop()
	_ = p.Wait()
	return p.ProcessState.ExitCode()
}

// ends checks how the program ended.
func (p *program) ends(t *testing.T, code int) {
	t.Helper()
	if got := p.ended(); got != code {
		t.Fatalf("%v ended with %d, want %d\n%s\n%s", p.Args[1:], got, code, &p.out, &p.errs)
	}
}

// says checks that the program printed each text, on either output.
func (p *program) says(t *testing.T, texts ...string) {
	t.Helper()
	all := strings.Join(strings.Fields(p.out.String()+p.errs.String()), " ")
	for _, text := range texts {
		if !strings.Contains(all, text) {
			t.Errorf("%v does not say %q:\n%s\n%s", p.Args[1:], text, &p.out, &p.errs)
		}
	}
}

// TestWorkloads runs each workload shortly through relays of its own. That every packet is accounted
// for, comes in order and to the right client is checked by the program, which fails otherwise.
func TestWorkloads(t *testing.T) {
	t.Parallel()
	derpd := relay(t)
	for name, args := range map[string][]string{
		"idle":        {"-clients", "100"},
		"chatter":     {"-clients", "200", "-rate", "500"},
		"bulk":        {"-rate", "1000"},
		"incast":      {"-pairs", "5"},
		"slow-reader": nil,
		"flood":       nil,
		"churn":       {"-clients", "300"},
		"storm":       {"-clients", "150"},
		"mesh":        {"-nodes", "2", "-rate", "500"},
		"websocket":   {"-rate", "1000"},
		"stun":        {"-rate", "500"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := filepath.Join(t.TempDir(), "report.json")
			p := start(t, append([]string{"run", "-launch", derpd, "-workload", name, "-for", "1500ms",
				"-seed", "1", "-warm", "200ms", "-drain", "5s", "-busy", "off", "-o", out}, args...)...)
			p.ends(t, 0)
			p.says(t, "OK")
			r, err := report.Read(out)
			if err != nil {
				t.Fatal(err)
			}
			s := r.Steps[0]
			switch b := &s.Books; {
			case name == "stun":
				if s.STUN == nil || s.STUN.Latency.Count() < 600 {
					t.Errorf("STUN: %+v", s.STUN)
				}
			case name == "idle":
				if s.Asked != 100 || s.Answered != 100 {
					t.Errorf("%d of %d answer", s.Answered, s.Asked)
				}
			case b.Delivered < 300 || !b.DroppedKnown || b.Unexplained() != 0:
				t.Errorf("books %+v", *b)
			}
		})
	}
}

// TestProcesses: a fleet of several processes, on plain TCP, at two rates.
func TestProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, page := filepath.Join(dir, "report.json"), filepath.Join(dir, "report.html")
	p := start(t, "run", "-launch", relay(t), "-plain", "-processes", "2", "-clients", "100", "-rate",
		"200,400", "-arrival", "constant", "-for", "1s", "-warm", "100ms", "-o", out, "-html", page)
	p.ends(t, 0)
	p.says(t, "-processes says so", "steady", "OK: every packet is accounted for")
	r, err := report.Read(out)
	if err != nil || len(r.Steps) != 2 || r.Ramp.Processes != 2 || r.Ramp.Clients != 100 {
		t.Fatalf("report %+v, %v", r, err)
	}
	if len(r.Steps[1].Relays) != 1 || r.Steps[1].Relays[0].CPU.Sum() <= 0 ||
		r.Ramp.Relays[0].RSSBytes < 1<<20 {
		t.Errorf("the relay used %+v in the second step, %+v in the ramp", r.Steps[1].Relays,
			r.Ramp.Relays)
	}
	if b, err := os.ReadFile(page); err != nil || !bytes.Contains(b, []byte("<svg")) {
		t.Errorf("the page has no plot: %v", err)
	}

	again := start(t, "show", out)
	again.ends(t, 0)
	if got, want := again.out.String(), p.out.String(); got != want {
		t.Errorf("show prints\n%s\nwant what run printed:\n%s", got, want)
	}
	merged := start(t, "merge", out, out)
	merged.ends(t, report.ExitNotMade)
}

// TestInterrupt: Ctrl-C ends in order, with a partial report that is marked so.
func TestInterrupt(t *testing.T) {
	out := filepath.Join(t.TempDir(), "report.json")
	p := start(t, "run", "-launch", relay(t), "-clients", "50", "-rate", "200", "-seed", "1", "-warm",
		"0s", "-for", "10m", "-o", out)
	awaitPackets(t, listenAddr(t, child(t, p.Process.Pid)), "node1.relay.invalid")
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	p.ends(t, report.ExitPartial)
	p.says(t, "PARTIAL")
	if r, err := report.Read(out); err != nil || !r.Partial {
		t.Errorf("the report is not marked as partial: %v", err)
	}
}

// awaitPackets waits until a relay has passed packets on, which clients send when all are in.
func awaitPackets(t *testing.T, addr, host string) {
	t.Helper()
	target := loadgen.Target{Addr: netip.MustParseAddrPort(addr), Host: host,
		Varz: "https://" + addr + "/debug/varz"}
	var err error
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); {
		var m scrape.Metrics
		if m, err = scrape.Read(t.Context(), target); err == nil && m.Sent > 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("no packets go through %s: %v", addr, err)
}

// child waits for a process that another has started.
func child(t *testing.T, of int) (pid int) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); {
		all, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
		for _, path := range all {
			b, err := os.ReadFile(path)
			if err != nil {
				continue // it has ended
			}
			// pid (name) state parent …; the name may have spaces.
			f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
			if len(f) > 1 && f[1] == strconv.Itoa(of) {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
				return pid
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("process %d has started no other", of)
	return 0
}

// TestRelayDies: the run ends early, and says why.
func TestRelayDies(t *testing.T) {
	derpd := exec.Command(relay(t), "-a", "127.0.0.1:0", "-certmode", "self-signed", "-c",
		filepath.Join(t.TempDir(), "key"), "-stun=false", "-http-port", "-1", "-hostname", "localhost")
	var log bytes.Buffer
	derpd.Stdout = &log
	if err := derpd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = derpd.Process.Kill() }()
	addr := listenAddr(t, derpd.Process.Pid)
	// Of the few talkers of another seed all may be silent for so long.
	p := start(t, "run", "-clients", "40", "-rate", "200", "-seed", "1", "-warm", "0s", "-for", "4s",
		"-drain", "1s", addr)
	awaitPackets(t, addr, "localhost")
	if err := derpd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.ends(t, report.ExitFailed)
	p.says(t, "no client is connected any more")
	_ = derpd.Wait()
}

// listenAddr finds where a process listens, from its descriptors.
func listenAddr(t *testing.T, pid int) string {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		out, err := exec.Command("ss", "-Hltnp").Output()
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); err == nil && strings.Contains(line,
				"pid="+strconv.Itoa(pid)+",") && len(f) > 3 {
				return f[3]
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the relay does not listen")
	return ""
}

// TestMistakes: each is one sentence with what was wrong, and its exit status.
func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	damaged := filepath.Join(dir, "damaged.json")
	if err := os.WriteFile(damaged, []byte("{\"format\":1,"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args string
		code int
		says string
	}{
		{"", exitMisuse, "loadgen run"},
		{"walk", exitMisuse, `no command "walk"`},
		{"run", exitMisuse, "name the relay"},
		{"run here", exitMisuse, `"here" is no host:port`},
		{"run 127.0.0.1:0", exitMisuse, `"0" is no port`},
		{"run 192.0.2.1:443", exitMisuse, "-allow-target 192.0.2.1"},
		{"run -allow-target x 127.0.0.1:9", exitMisuse, `"x" is neither`},
		{"run -workload dance 127.0.0.1:9", exitMisuse, "no workload is named \"dance\""},
		{"run -rate fast 127.0.0.1:9", exitMisuse, `"fast" is no rate`},
		{"run -start-at noon 127.0.0.1:9", exitMisuse, "-start-at"},
		{"run -rate 0,5 127.0.0.1:9", exitMisuse, "make two runs"},
		{"run -for 2h 127.0.0.1:9", exitMisuse, "at most 1h0m0s"},
		{"run -clients 2000000 127.0.0.1:9", exitMisuse, "more than 1000000"},
		{"run -active 2 127.0.0.1:9", exitMisuse, "share of 2"},
		{"run -busy maybe 127.0.0.1:9", exitMisuse, "-busy"},
		{"run -arrival never -quiet 127.0.0.1:9", exitMisuse, `arrival kind is "never"`},
		{"run -arrival bursts 127.0.0.1:9", exitMisuse, "burst is 0 packets"},
		{"run -relay-pid me 127.0.0.1:9", exitMisuse, `-relay-pid "me"`},
		{"run -clients 50000 -processes 1 127.0.0.1:9", exitMisuse, "at least"},
		{"run -launch /nowhere/derpd", report.ExitNotMade, "/nowhere/derpd"},
		{"run -launch /bin/true -relay-cpu 1023", exitMisuse, "-relay-cpu 1023: "},
		{"run -launch x 127.0.0.1:9", exitMisuse, "there are no addresses"},
		{"run -quiet -clients 20 127.0.0.1:1", report.ExitNotMade, "refused"},
		{"run -quiet -workload stun -stun-port 9 -rate 200 -for 200ms -warm 0s -drain 100ms 127.0.0.1:9",
			report.ExitFailed, "STUN requests was answered"},
		{"run -quiet nowhere.invalid:443", report.ExitNotMade, "nowhere.invalid"},
		{"merge " + damaged, exitMisuse, "at least two"},
		{"show " + damaged, report.ExitNotMade, "damaged.json"},
		{"plan -budget 1s 127.0.0.1:1", report.ExitNotMade, "budget"},
	} {
		p := start(t, strings.Fields(tc.args)...)
		p.ends(t, tc.code)
		p.says(t, tc.says)
	}
}

// TestSeed: two runs of one command have clients of their own, and the report says by which seed a
// run can be repeated.
func TestSeed(t *testing.T) {
	var seeds []uint64
	for _, args := range [][]string{nil, nil, {"-seed", "77"}} {
		out := filepath.Join(t.TempDir(), "report.json")
		p := start(t, append([]string{"run", "-quiet", "-launch", relay(t), "-clients", "10", "-rate",
			"50", "-arrival", "constant", "-for", "200ms", "-warm", "0s", "-o", out}, args...)...)
		p.ends(t, 0)
		r, err := report.Read(out)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, r.Job.Options.Seed)
		p.says(t, "seed "+strconv.FormatUint(r.Job.Options.Seed, 10))
	}
	if seeds[0] == seeds[1] || seeds[0] == 0 || seeds[1] == 0 || seeds[2] != 77 {
		t.Errorf("seeds %d", seeds)
	}
}

// TestStartAt: two machines begin together and their reports add up. A start that has passed when
// the clients are in is a failure.
func TestStartAt(t *testing.T) {
	t.Parallel()
	dir, derpd := t.TempDir(), relay(t)
	at := time.Now().Add(7 * time.Second).Truncate(time.Second)
	var machines []*program
	var reports []string
	for i := range 2 {
		reports = append(reports, filepath.Join(dir, strconv.Itoa(i)+".json"))
		machines = append(machines, start(t, "run", "-quiet", "-launch", derpd, "-clients", "10",
			"-rate", "50", "-arrival", "constant", "-for", "4s", "-warm", "0s", "-start-at",
			at.UTC().Format(time.RFC3339), "-o", reports[i]))
	}
	for i, p := range machines {
		p.ends(t, 0)
		r, err := report.Read(reports[i])
		if err != nil {
			t.Fatal(err)
		}
		if late := r.Steps[0].Began.Sub(at); late < 0 || late > time.Second {
			t.Errorf("machine %d began %v after its time", i+1, late)
		}
	}
	start(t, append([]string{"merge"}, reports...)...).ends(t, 0)

	late := start(t, "run", "-quiet", "-launch", derpd, "-clients", "10", "-rate", "50", "-for",
		"200ms", "-start-at", "2020-01-02T03:04:05Z")
	late.ends(t, report.ExitFailed)
	late.says(t, "step 1 was to begin at 2020-01-02T03:04:05Z", "give a later -start-at")
}

// TestUselessFlags: a flag that would change nothing is refused by its name, wherever it is given.
func TestUselessFlags(t *testing.T) {
	const there = " 127.0.0.1:9"
	for _, tc := range []struct{ args, says string }{
		{"run -workload mesh -clients 500" + there, "-clients would change nothing: workload mesh has"},
		{"run -workload websocket -clients 500" + there, "-clients would"},
		{"run -workload stun -clients 500" + there, "-clients would"},
		{"run -workload flood -pairs 5" + there, "-pairs would"},
		{"run -workload storm -pairs 5" + there, "-pairs would"},
		{"run -workload churn -pairs 5" + there, "-pairs would"},
		{"run -workload slow-reader -pairs 5" + there, "-pairs would"},
		{"run -workload bulk -active 0.5" + there, "-active would"},
		{"run -size 700" + there, "-size would change nothing: workload chatter has"},
		{"run -stun-port 700" + there, "-stun-port would"},
		{"run -launch derpd -workload stun -stun-port 700", "-stun-port would"},
		{"run -workload idle -rate 50" + there, "-rate would change nothing: in workload idle nobody"},
		{"run -burst 5" + there, "-burst would change nothing: it is for -arrival bursts"},
		{"run -arrival poisson -on 5s" + there, "-on would change nothing: it is for -arrival on-off"},
		{"run -arrival bursts -burst 5 -off 5s" + there, "-off would"},
		{"run -workload stun -arrival poisson" + there, "-arrival would change nothing: no packet"},
		{"run -workload bulk -rate 0 -arrival poisson" + there, "-arrival would"},
		{"run -workload bulk -patience 1s" + there, "-patience would"},
		{"run -workload stun -ask=false" + there, "-ask would change nothing: in workload stun nobody"},
		{"run -share 0.5" + there, "-share would"},
		{"run -launch derpd -metrics off", "-metrics would"},
		{"run -launch derpd -relay-pid off", "-relay-pid would"},
		{"run -launch derpd -host x", "-host would change nothing: of a relay that -launch starts"},
		{"run -launch derpd -dry-run -allow-target 192.0.2.1", "-allow-target would"},
		{"run -relay-cpu 0" + there, "-relay-cpu would change nothing: only relays that are started"},
		{"run -nodes 2" + there, "-nodes would"},
		{"run -launch-args -x" + there, "-launch-args would"},
		{"run -plain -x25519" + there, "-x25519 would"},
		{"plan -relay-cpu 0" + there, "-relay-cpu would"},
		{"plan -launch derpd -metrics off", "-metrics would"},
		{"plan -workload mesh -sim-clients 5" + there, "-sim-clients would"},
		{"demo -launch derpd -relay-pid off", "-relay-pid would"},
	} {
		p := start(t, strings.Fields(tc.args)...)
		p.ends(t, exitMisuse)
		p.says(t, tc.says)
	}
	for _, args := range []string{
		"run -dry-run -workload flood -arrival bursts -burst 5 -patience 1s" + there, // of bystanders
		"run -dry-run -workload bulk -clients 500 -rate 50 -arrival on-off -on 1s -off 2s" + there,
		"run -dry-run -workload stun -pairs 5 -stun-port 700 -rate 0" + there,
		"run -dry-run -launch derpd -nodes 2 -workload mesh -pairs 5 -relay-cpu 0 -launch-args=-x",
	} {
		start(t, strings.Fields(args)...).ends(t, 0)
	}
}

// TestReportCannotBeWritten: what was measured is printed all the same, and the exit status tells.
func TestReportCannotBeWritten(t *testing.T) {
	p := start(t, "run", "-quiet", "-launch", relay(t), "-clients", "10", "-rate", "50",
		"-arrival", "constant", "-for", "200ms", "-warm", "0", "-o", "/proc/nowhere/report.json")
	p.ends(t, report.ExitFailed)
	p.says(t, "/proc/nowhere/report.json", "every packet is accounted for")
}

// TestDryRun says what would run and connects to nobody.
func TestDryRun(t *testing.T) {
	p := start(t, "run", "-dry-run", "-workload", "bulk", "-rate", "100", "127.0.0.1:9")
	p.ends(t, 0)
	p.says(t, "workload bulk: 20 clients", "pairs: 10 senders", "relay 127.0.0.1:9")
	p = start(t, "workloads")
	p.ends(t, 0)
	p.says(t, "slow-reader", "569 bytes")
}

// TestPlan: the shortest plan there is, against a relay that is started for it.
func TestPlan(t *testing.T) {
	out := filepath.Join(t.TempDir(), "plan.json")
	p := start(t, "plan", "-launch", relay(t), "-budget", "10s", "-clients", "200", "-rate", "500",
		"-sim-clients", "100", "-p99", "1s", "-o", out)
	code := p.ended()
	p.says(t, "What this host carries", "knee of throughput", "memory a client")
	r, err := report.Read(out)
	if err != nil || r.Kind != report.Plan {
		t.Fatalf("report %+v, %v", r, err)
	}
	var result plan.Result
	if err := json.Unmarshal(r.Plan, &result); err != nil {
		t.Fatal(err)
	}
	want := 0
	if result.Planned.Rate == 0 || result.Planned.P99 == 0 {
		want = report.ExitFailed
		p.says(t, "FAILED: the plan promises nothing")
	}
	if code != want {
		t.Errorf("it ended with %d, want %d\n%s\n%s", code, want, &p.out, &p.errs)
	}

	// What is promised is kept or not. So short a plan, beside other tests, may promise nothing.
	easy := filepath.Join(t.TempDir(), "easy.json")
	rewrite(t, out, easy, func(p map[string]any) {
		p["planned"].(map[string]any)["rate"] = 200
		p["planned"].(map[string]any)["p99_ns"] = int64(time.Minute)
	})
	keeps := start(t, "run", "-launch", relay(t), "-plan", easy, "-share", "0.5", "-for", "1s")
	keeps.ends(t, 0)
	impossible := filepath.Join(t.TempDir(), "impossible.json")
	rewrite(t, easy, impossible, func(p map[string]any) {
		p["planned"].(map[string]any)["p99_ns"] = 1000
	})
	misses := start(t, "run", "-launch", relay(t), "-plan", impossible, "-share", "0.5", "-for", "1s")
	misses.ends(t, report.ExitFailed)
	misses.says(t, "the plan promises 1µs")
	nothing := filepath.Join(t.TempDir(), "nothing.json")
	rewrite(t, easy, nothing, func(p map[string]any) {
		p["planned"].(map[string]any)["rate"] = 0
	})
	mistaken := start(t, "run", "-launch", relay(t), "-plan", nothing)
	mistaken.ends(t, report.ExitNotMade)
	mistaken.says(t, "promises nothing")
	both := start(t, "run", "-launch", relay(t), "-plan", out, "-rate", "5")
	both.ends(t, exitMisuse)
	both.says(t, "-rate: what is run with -plan")
}

// rewrite changes the plan in a report.
func rewrite(t *testing.T, from, to string, change func(plan map[string]any)) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	change(all["plan"].(map[string]any))
	if b, err = json.Marshal(all); err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestDemo ends by itself, and prints lines where there is no terminal.
func TestDemo(t *testing.T) {
	p := start(t, "demo", "-launch", relay(t), "-clients", "50", "-rate", "100", "-seed", "1", "-for",
		"1500ms")
	p.ends(t, 0)
	p.says(t, "every packet is accounted for")
}
