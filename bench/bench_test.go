package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func quiet(string, ...any) {}

func TestIdle(t *testing.T) {
	o := IdleOptions{Clients: 100, CPU: -1, Settle: 0}
	for _, plain := range []bool{false, true} {
		o.Plain = plain
		all, err := Idle(t.Context(), []Peer{fakePeer(t, modeGood)}, o, quiet)
		if err != nil || all[0].Error != "" {
			t.Fatal(err, all)
		}
		r := all[0]
		if r.Answered != 100 || r.GoroutinesWith != 42 || r.RSSPerClient <= 0 ||
			r.RampSeconds <= 0 || !plain && r.LoginUserMicros+r.LoginSystemMicros <= 0 {
			t.Errorf("plain %v: %+v", plain, r)
		}
	}
}

func TestIdleFailures(t *testing.T) {
	for mode, want := range map[string]string{
		modeExit:   "no way to listen",
		modeRefuse: "no answer to the login",
		modeNoPong: "0 of 40 clients answered",
	} {
		o := IdleOptions{Clients: 40, CPU: -1, Settle: 0}
		all, err := Idle(t.Context(), []Peer{fakePeer(t, mode)}, o, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(all[0].Error, want) || !strings.Contains(all[0].Error, "mode "+mode) {
			t.Errorf("%s: the error is %q, want %q and the log", mode, all[0].Error, want)
		}
	}
}

func TestTooManyClients(t *testing.T) {
	o := IdleOptions{Clients: 1 << 30, CPU: -1}
	_, err := Idle(t.Context(), []Peer{{Name: "x", Path: "/nowhere"}}, o, quiet)
	if err == nil || !strings.Contains(err.Error(), "ulimit") {
		t.Errorf("no remedy in %v", err)
	}
}

func TestRate(t *testing.T) {
	for _, plain := range []bool{false, true} {
		o := RateOptions{Rate: 800, Pairs: 3, Frames: 2, Size: 200, Plain: plain, CPU: -1,
			Rounds: 1, Window: 500 * time.Millisecond}
		all, err := Rate(t.Context(), []Peer{fakePeer(t, modeGood)}, o, quiet)
		if err != nil || all[0].Error != "" {
			t.Fatal(err, all)
		}
		m := all[0].Median
		if m.Offered < 400 || m.Offered > 1200 || m.Delivered < 400 || m.Delivered > 1200 {
			t.Errorf("asked for 800/s: %+v", m)
		}
		if m.P50Micros <= 0 || m.P99Micros < m.P50Micros {
			t.Errorf("latencies of %+v", m)
		}
	}
}

func TestRateFailures(t *testing.T) {
	for mode, want := range map[string]string{
		modeDie:     "fatal: a packet came",
		modeForge:   "a packet came from",
		modeReplay:  "came after packet",
		modeShorten: "a packet of 199 bytes came, 200 were sent",
	} {
		o := RateOptions{Rate: 200, Pairs: 1, Frames: 1, Size: 200, CPU: -1, Rounds: 2,
			Window: time.Second}
		bad := fakePeer(t, mode)
		all, err := Rate(t.Context(), []Peer{{Name: "absent", Path: "/nowhere"}, bad}, o, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(all[0].Error, "/nowhere") {
			t.Errorf("absent binary: %q", all[0].Error)
		}
		if !strings.Contains(all[1].Error, want) {
			t.Errorf("%s: the error is %q, want %q", mode, all[1].Error, want)
		}
	}
}

func TestOverload(t *testing.T) {
	peer := fakePeer(t, modeGood)
	second := Peer{Name: "second", Path: peer.Path}
	o := OverloadOptions{Pairs: 2, Size: 1400, CPU: -1, Rounds: 1, Ladder: []float64{2000},
		Step: 300 * time.Millisecond, Flood: 300 * time.Millisecond}
	all, err := Overload(t.Context(), []Peer{peer, second}, o, quiet)
	if err != nil {
		t.Fatal(err)
	}
	report := NewReport("overload", []Peer{peer, second}, o)
	report.Results, report.Verdicts = all, Judge(all)
	if len(all) != 4 || len(report.Verdicts) != 4 {
		t.Fatalf("%d results and %d verdicts, want 4 each", len(all), len(report.Verdicts))
	}
	for _, r := range all {
		if r.Error != "" || r.Peak <= 0 || r.Flood.Delivered <= 0 || r.Flood.Offered <= 0 ||
			len(r.Ladder) != 1 {
			t.Errorf("%+v", r)
		}
	}
	var text, data bytes.Buffer
	if err := report.Text(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"8 a write", "good÷", "second", "delivers"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &text)
		}
	}
	if err := report.JSON(&data); err != nil || !json.Valid(data.Bytes()) {
		t.Errorf("JSON: %v\n%s", err, &data)
	}
}

// An interrupt must end a run at once and leave no relay behind.
func TestInterrupt(t *testing.T) {
	peer := fakePeer(t, modeGood)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := startRelay(ctx, peer, false, -1)
	if err != nil {
		t.Fatal(err)
	}
	f, err := newFlow(ctx, &r.target, 1, 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, cancel)
	begin := time.Now()
	if _, err = f.step(ctx, r.pid, 0, time.Minute); err == nil {
		t.Error("the step ended well")
	}
	f.close()
	r.stop()
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
	if err := syscall.Kill(r.pid, 0); err != syscall.ESRCH {
		t.Errorf("relay %d is still there: %v", r.pid, err)
	}
	if _, err := os.Stat(r.dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", r.dir, err)
	}
}

func TestLoginEndsWithContext(t *testing.T) {
	fakePeer(t, modeDeaf)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := startRelay(ctx, fakePeer(t, modeDeaf), false, -1); err == nil ||
		!strings.Contains(err.Error(), "lets nobody in") {
		t.Errorf("a deaf relay: %v", err)
	}
}

func TestJudge(t *testing.T) {
	result := func(peer string, frames int, peak, flood float64) OverloadResult {
		s := Step{Delivered: flood}
		return OverloadResult{Peer: peer, Frames: frames, Peak: peak, Flood: s, Floods: []Step{s}}
	}
	failed := OverloadResult{Peer: "b", Frames: 1, Error: "gone"}
	for _, c := range []struct {
		name string
		all  []OverloadResult
		want string
	}{
		{"both hold", []OverloadResult{result("a", 1, 100, 60), result("b", 1, 50, 3)}, "++"},
		{"half is enough", []OverloadResult{result("a", 1, 100, 50), result("b", 1, 49, 3)}, "++"},
		{"collapses", []OverloadResult{result("a", 8, 100, 49), result("b", 8, 40, 3)}, "-+"},
		{"other's peak", []OverloadResult{result("a", 1, 100, 60), result("b", 1, 60, 3)}, "+-"},
		{"other's flood", []OverloadResult{result("a", 1, 100, 60), result("b", 1, 9, 61)}, "+-"},
		{"nobody to beat", []OverloadResult{result("a", 1, 100, 60)}, "+"},
		{"other failed", []OverloadResult{result("a", 1, 100, 60), failed}, "+-"},
		{"failed itself", []OverloadResult{failed, result("a", 1, 100, 60)}, "-"},
		{"two forms", []OverloadResult{result("a", 1, 100, 60), result("a", 8, 100, 4)}, "+-"},
	} {
		var got string
		for _, v := range Judge(c.all) {
			got += map[bool]string{true: "+", false: "-"}[v.Pass]
		}
		if got != c.want {
			t.Errorf("%s: verdicts %s, want %s", c.name, got, c.want)
		}
	}
}
