package fleet

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"derpd/loadgen"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

var (
	testJob  = loadgen.Job{Workload: loadgen.Workload{Name: "test", Idle: 100}}
	testStep = loadgen.Step{Rate: 5, Window: 50 * time.Millisecond}
)

// open opens a fleet of which one part may behave as mode says, and sees that Close leaves nobody.
func open(t *testing.T, mode string, part, parts int, w waits) *fleet {
	t.Helper()
	f, err := openWith(testJob, parts, argv(t, mode, part), "too many", w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// What Close says is for the tests that ask; that nobody is left is for all.
		_ = f.Close()
		for _, p := range f.workers {
			if running(p.cmd.Process.Pid) {
				t.Errorf("%s still runs after Close", p.name)
			}
		}
	})
	return f
}

// running tells whether there is a process that is not merely waiting to be reaped.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

func group(t *testing.T, pid int) int {
	t.Helper()
	id, err := syscall.Getpgid(pid)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func within(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func TestFleetOfThree(t *testing.T) {
	f := open(t, "", 0, 3, usualWaits)
	for _, p := range f.workers {
		// A Ctrl-C in the terminal reaches the parent's group only.
		if pid := p.cmd.Process.Pid; pid != group(t, pid) {
			t.Errorf("%s is in process group %d", p.name, group(t, pid))
		}
	}
	ramp, err := f.Ramp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if ramp.Clients != 100 || ramp.Wanted != 100 || ramp.Login.Count() != 100 || ramp.Took != 2 ||
		ramp.Processes != 3 || ramp.Why != "too many" || ramp.Partial || ramp.Failures != nil {
		t.Errorf("ramp %+v", ramp)
	}
	for range 2 {
		before := monotonic()
		step, err := f.Step(t.Context(), testStep)
		if err != nil {
			t.Fatal(err)
		}
		if step.Clients != 100 || step.Books.Delivered != 100 || step.Step != testStep ||
			step.Processes != 3 || step.Partial || step.Failures != nil {
			t.Errorf("step %+v", step)
		}
		// One note is one start for all three.
		start, err := strconv.ParseInt(step.Notes["start"], 10, 64)
		if err != nil || start < before || start > monotonic()+int64(time.Second) {
			t.Errorf("parts began at %q, asked at %d", step.Notes["start"], before)
		}
	}
	start := monotonic() + int64(50*time.Millisecond)
	step, err := f.StepAt(t.Context(), testStep, start)
	if err != nil || step.Notes["start"] != fmt.Sprint(start) {
		t.Errorf("to begin at %d: %+v, %v", start, step, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

// Progress comes while a step runs, and a cancelled step returns what there is.
func TestCancelAndProgress(t *testing.T) {
	f := open(t, "", 0, 2, usualWaits)
	if p := f.Progress(); p.Wanted != 100 || p.Clients != 0 {
		t.Errorf("before the ramp: %+v", p)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if p := f.Progress(); p.Phase == loadgen.PhaseRun && p.Clients == 100 {
				cancel()
				return
			}
		}
	}()
	step, err := f.Step(ctx, loadgen.Step{Window: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if !step.Partial || step.Books.Delivered != 100 || step.Failures != nil {
		t.Errorf("step %+v", step)
	}
	// The workers are as good as before.
	if step, err = f.Step(t.Context(), testStep); err != nil || step.Partial {
		t.Errorf("the next step: %+v, %v", step, err)
	}
}

// Whatever happens to one of two workers costs its clients only, and the sentence says what.
func TestOneWorkerFails(t *testing.T) {
	quick := waits{silence: 3 * time.Second, cancel: 300 * time.Millisecond,
		close: 300 * time.Millisecond}
	for _, tt := range []struct {
		mode  string
		ramp  bool // it fails in the ramp
		after bool // it is there for the next step
		says  []string
	}{
		{"unramped", true, true, []string{"worker 2 of 2", "refused by all"}},
		{"garbage", true, false, []string{"worker 2 of 2 is gone", `"hello, world" is no reply`}},
		{"silent", true, false, []string{"no word from it for"}},
		{"dying", false, false, []string{"exit status 3", "one line | no memory left"}},
		{"panicking", false, false, []string{"exit status 2", "panic: at the disco", "StepAt"}},
		{"unstepped", false, true, []string{"worker 2 of 2: not today"}},
		{"nan", false, true, []string{"a result cannot be told", "NaN"}},
	} {
		t.Run(tt.mode, func(t *testing.T) {
			w := usualWaits
			if tt.mode == "silent" {
				w = quick
			}
			f := open(t, tt.mode, 1, 2, w)
			ramp, err := f.Ramp(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if tt.ramp {
				if ramp.Clients != 50 || ramp.Wanted != 100 || !ramp.Partial {
					t.Errorf("ramp %+v", ramp)
				}
				checkFailures(t, ramp.Failures, tt.says)
			}
			step, err := f.Step(t.Context(), testStep)
			if err != nil {
				t.Fatal(err)
			}
			if tt.ramp && tt.after {
				if step.Partial {
					t.Errorf("step %+v", step)
				}
				return
			}
			if !step.Partial || step.Clients != 50 || step.Books.Delivered != 50 {
				t.Errorf("step %+v", step)
			}
			checkFailures(t, step.Failures, tt.says)
			if p := f.Progress(); !tt.after && p.Failures.Sum() != 50 {
				t.Errorf("progress %+v", p)
			}
		})
	}
}

func checkFailures(t *testing.T, f loadgen.Failures, says []string) {
	t.Helper()
	local := f[loadgen.FailLocal]
	if len(f) != 1 || local == nil || local.Count != 50 {
		t.Fatalf("failures %v", f.Lines())
	}
	for _, s := range says {
		if !strings.Contains(local.Example, s) {
			t.Errorf("%q does not say %q", local.Example, s)
		}
	}
	if strings.Contains(local.Example, "\n") {
		t.Errorf("%q has several lines", local.Example)
	}
}

func TestWorkerKilled(t *testing.T) {
	f := open(t, "deaf", 2, 3, usualWaits) // the victim is in its step until it is killed
	victim := f.workers[2].cmd.Process
	kill := time.AfterFunc(startAhead+100*time.Millisecond, func() { victim.Signal(syscall.SIGKILL) })
	defer kill.Stop()
	step, err := f.Step(t.Context(), loadgen.Step{Window: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if !step.Partial || step.Clients != 67 || step.Failures[loadgen.FailLocal].Count != 33 ||
		!strings.Contains(step.Failures[loadgen.FailLocal].Example, "signal: killed") {
		t.Errorf("%+v, %v", step, step.Failures.Lines())
	}
	// Between two steps it is the same, and when all are gone there is nothing to measure.
	if err := f.workers[1].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if step, err = f.Step(t.Context(), testStep); err != nil || step.Clients != 34 ||
		step.Failures[loadgen.FailLocal].Count != 66 {
		t.Errorf("%+v, %v", step, err)
	}
	if err := f.workers[0].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if step, err = f.Step(t.Context(), testStep); err == nil ||
		!strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("%+v, %v", step, err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("closing what is gone: %v", err)
	}
}

// A worker that does not heed the end of the run is not waited for.
func TestDeafWorker(t *testing.T) {
	w := usualWaits
	w.cancel = 3 * time.Second // the good worker's, too
	f := open(t, "deaf", 0, 2, w)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	step, err := f.Step(ctx, loadgen.Step{Window: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if !step.Partial || step.Books.Delivered != 50 {
		t.Errorf("step %+v", step)
	}
	checkFailures(t, step.Failures, []string{"no result within 3s after the run was ended"})
}

func TestCloseErrors(t *testing.T) {
	f := open(t, "unclosed", 1, 2, usualWaits)
	if err := f.Close(); err == nil || err.Error() != "worker 2 of 2: a door is jammed" {
		t.Errorf("%v", err)
	}
	w := usualWaits
	w.close = 3 * time.Second
	f = open(t, "stuck", 1, 2, w)
	if err := f.Close(); err == nil || strings.Count(err.Error(), "\n") > 0 ||
		!strings.Contains(err.Error(), "worker 2 of 2 is gone: it was killed: it did not close") {
		t.Errorf("%v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	for _, tt := range []struct {
		parts int
		argv  []string
		says  string
	}{
		{0, argv(t, "", 0), "0 worker processes cannot be: 1 to 64 can"},
		{65, argv(t, "", 0), "65 worker processes cannot be"},
		{1, nil, "no program"},
		{2, []string{"/no/such/program"}, "worker 1 of 2 does not start"},
		{2, argv(t, "unopened", 1), "worker 2 of 2: no such thing"},
		{2, []string{"/bin/sh", "-c", "echo its word >&2; exit 4"},
			"worker 1 of 2 is gone: exit status 4; it said: its word"},
		{2, []string{"/bin/sh", "-c", "echo '{}'; exec sleep 60"}, `"{}" is no reply`},
		{1, []string{"/bin/sh", "-c", `echo '{"to":"ramp","error":"x"}'; exec sleep 60`},
			`an answer to "ramp", not to "open"`},
	} {
		f, err := Open(testJob, tt.parts, tt.argv, "")
		if err == nil || !strings.Contains(err.Error(), tt.says) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("%d of %q: %v, %q; want %q", tt.parts, tt.argv, f, err, tt.says)
		}
		if f != nil {
			t.Errorf("%d of %q: a fleet with an error", tt.parts, tt.argv)
		}
	}
}

// A worker outlives its parent in no case, even if it does not heed the end of its input.
func TestNoOrphans(t *testing.T) {
	needExec(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(exe, "parent")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	for lines := bufio.NewScanner(out); len(pids) < 2 && lines.Scan(); {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	for _, pid := range pids {
		if !running(pid) {
			t.Errorf("worker %d does not run", pid)
		}
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // that it was killed
	if len(pids) != 2 {
		t.Fatalf("the parent told of workers %v", pids)
	}
	within(t, "the workers die with their parent", func() bool {
		return !running(pids[0]) && !running(pids[1])
	})
}
