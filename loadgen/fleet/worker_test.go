package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"derpd/loadgen"
)

// The test binary is the worker too: with "worker MODE PART" it serves a fakeFleet that behaves as
// MODE says in part PART and well in the others. With "parent" it is a parent to be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "worker":
			os.Exit(workerMain(os.Args[2], os.Args[3]))
		case "parent":
			os.Exit(parentMain())
		}
	}
	// Workers built with the race detector would otherwise stay a second longer at their end.
	os.Setenv("GORACE", "halt_on_error=1 atexit_sleep_ms=0")
	os.Exit(m.Run())
}

// argv is the worker's command line.
func argv(t testing.TB, mode string, part int) []string {
	t.Helper()
	needExec(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{exe, "worker", mode, strconv.Itoa(part)}
}

// needExec skips a test that runs this binary again, where make test-arm64 has it emulated.
func needExec(t testing.TB) {
	t.Helper()
	if os.Getenv("TEST_EMULATED") != "" {
		t.Skip("emulated: the system cannot execute this binary once more")
	}
}

func workerMain(mode, part string) int {
	if mode == "heedless" { // it opens and then heeds nothing, not even the end of its input
		bufio.NewScanner(os.Stdin).Scan()
		fmt.Println(`{"to":"open"}`)
		time.Sleep(time.Hour)
	}
	err := Serve(context.Background(), os.Stdin, os.Stdout,
		func(job loadgen.Job) (loadgen.Fleet, error) {
			f := &fakeFleet{job: job}
			if strconv.Itoa(job.Options.Part) == part {
				f.mode = mode
			}
			if f.mode == "unopened" {
				return nil, errors.New("no such thing")
			}
			if f.mode == "late" {
				return struct{ loadgen.Fleet }{f}, nil // no Starter
			}
			return f, nil
		})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// parentMain starts two workers, tells their processes and waits to be killed.
func parentMain() int {
	exe, _ := os.Executable()
	f, err := openWith(loadgen.Job{}, 2, []string{exe, "worker", "heedless", "0"}, "", usualWaits)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, p := range f.workers {
		fmt.Println(p.cmd.Process.Pid)
	}
	time.Sleep(time.Hour)
	return 0
}

// fakeFleet has clients that succeed at once and sends a packet for each.
type fakeFleet struct {
	job    loadgen.Job
	mode   string
	closed int
}

func (f *fakeFleet) clients() int { return f.job.Workload.Clients() }

func (f *fakeFleet) Ramp(ctx context.Context) (*loadgen.RampResult, error) {
	switch f.mode {
	case "unramped":
		return nil, errors.New("refused by all")
	case "garbage":
		fmt.Println("hello, world")
		<-ctx.Done()
	case "silent":
		select {} // Progress too
	case "nan":
		return &loadgen.RampResult{Clients: 1}, nil
	}
	res := &loadgen.RampResult{Clients: f.clients(), Wanted: f.clients(),
		Took: time.Duration(f.job.Options.Part), Processes: 1, Login: loadgen.NewHist()}
	for range f.clients() {
		res.Login.Record(time.Millisecond)
	}
	return res, nil
}

// Step is not for those that have StepAt.
func (f *fakeFleet) Step(ctx context.Context, s loadgen.Step) (*loadgen.StepResult, error) {
	return f.StepAt(ctx, s, 0)
}

func (f *fakeFleet) StepAt(ctx context.Context, s loadgen.Step,
	start int64) (*loadgen.StepResult, error) {
	switch f.mode {
	case "dying":
		fmt.Fprintln(os.Stderr, "one line\nno memory left")
		os.Exit(3)
	case "panicking":
		panic("at the disco")
	case "deaf":
		select {}
	case "unstepped":
		return nil, errors.New("not today")
	}
	n := uint64(f.clients())
	res := &loadgen.StepResult{Step: s, Clients: f.clients(), Window: s.Window,
		Books: loadgen.Books{Due: n, Sent: n, Delivered: n},
		Notes: map[string]string{"start": fmt.Sprint(start), "late": fmt.Sprint(
			time.Duration(monotonic()-start) > time.Second)}}
	if f.mode == "nan" {
		res.Slack.Idle /= float64(res.Logins)
	}
	t := time.NewTimer(s.Window)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		res.Partial = true
	}
	return res, nil
}

func (f *fakeFleet) Progress() loadgen.Progress {
	if f.mode == "silent" {
		select {}
	}
	return loadgen.Progress{Phase: loadgen.PhaseRun, Clients: f.clients(), Wanted: f.clients()}
}

func (f *fakeFleet) Close() error {
	f.closed++
	switch f.mode {
	case "unclosed":
		return errors.New("a door is jammed")
	case "stuck":
		select {}
	}
	return nil
}
