package view

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"derpd/loadgen"
)

func TestWatchWithoutATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet := fakeFleet{began: time.Now()}
		var out screenLog
		Watch(t.Context(), &out, false, fleet.Progress)
		golden(t, "lines.txt", out.Bytes())
		if took := time.Since(fleet.began); took < 19*time.Second || took > 20*time.Second {
			t.Errorf("ended after %v", took)
		}
	})
}

func TestWatchOnATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet := fakeFleet{began: time.Now()}
		var out screenLog
		Watch(t.Context(), &out, true, fleet.Progress)
		if n := out.busiest(); n > 10 {
			t.Errorf("%d updates within a second", n)
		}
		// Where no cursor can be moved, drawings come one below the other. The bars are drawn at the
		// moment at which they are set, and either may come first.
		got := strings.ReplaceAll(out.String(), "\r", "")
		at := 0
		for _, want := range []string{
			`ramp   \[=*>?-+\] 0:00\n       [1-4]00 of 1,000 logged in · 500/s\n`,
			`ramp   \[=+\] 0:04\n       1,000 of 1,000 logged in · 250/s\n`,
			`warm   \[=+>-+\] 0:02 of 0:03\n       2,000/s due · 1,980/s delivered · p99 178 µs · `,
			`steady \[=+>-+\] 0:05 of 0:10\n       2,000/s due`,
			`steady \[=+\] 0:10 of 0:10\n       2,000/s due · 1,980/s delivered · p99 178 µs · 260 `,
			`drain  \[=+\] 0:01 of at most 0:05\n       25,740 of 26,000 sent were delivered`,
		} {
			found := regexp.MustCompile(want).FindStringIndex(got[at:])
			if found == nil {
				t.Fatalf("no %s in what follows:\n%s", want, got[at:])
			}
			at += found[0]
		}
		for line := range strings.Lines(got) {
			if n := utf8.RuneCountInString(line) - 1; n > 80 {
				t.Errorf("%d columns: %s", n, line)
			}
		}
	})
}

func TestWatchEndsWithItsContext(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			fleet := fakeFleet{began: time.Now()}
			var out screenLog
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				Watch(ctx, &out, terminal, fleet.Progress)
				close(done)
			}()
			time.Sleep(12 * time.Second)
			cancel()
			<-done
			if took := time.Since(fleet.began); took > 12*time.Second+barsEvery {
				t.Errorf("terminal %v: ended after %v", terminal, took)
			}
			// Each drawing begins in the first column, for Ctrl-C has left ^C at the cursor.
			if s := out.String(); terminal && !strings.Contains(s, "\n\rsteady ") {
				t.Error("a drawing begins where the cursor is")
			}
			// What was reached stays to be read.
			s := out.String()
			if last := s[strings.LastIndex(s, "\r")+1:]; terminal && !strings.Contains(last, "steady") {
				t.Errorf("the end is %q", last)
			}
			// The cursor is left on a line of its own.
			if s := out.String(); !strings.HasSuffix(s, "\n") {
				t.Errorf("terminal %v: the last line is %q", terminal, s[max(len(s)-80, 0):])
			}
			n := out.Len()
			time.Sleep(time.Minute)
			if out.Len() != n {
				t.Errorf("terminal %v: written to after the end", terminal)
			}
		})
	}
}

func TestStatusLines(t *testing.T) {
	var failures loadgen.Failures
	failures.Add(loadgen.FailTLS, 3, "bad certificate")
	for _, c := range []struct {
		p    loadgen.Progress
		want string
	}{
		{loadgen.Progress{Phase: loadgen.PhaseRamp, Clients: 1200, Wanted: 5000, Failures: failures},
			"1,200 of 5,000 logged in · 0/s · 3 failed"},
		{loadgen.Progress{Phase: loadgen.PhaseRun, Blocked: 7},
			"0/s due · 0/s delivered · drops not known · 7 held back"},
		{loadgen.Progress{Phase: loadgen.PhaseDrain, Sent: 1000, Delivered: 990,
			Dropped: map[string]uint64{"gone": 4, "queue_head": 1}},
			"990 of 1,000 sent were delivered · 5 dropped"},
	} {
		var s status
		s.look(time.Unix(0, 0), &c.p)
		if got := s.line(&c.p); got != c.want {
			t.Errorf("%s: %q, want %q", c.p.Phase, got, c.want)
		}
	}
}

// A phase is ended with the counts that came after it, but not with those of the next step.
func TestEndedPhases(t *testing.T) {
	last := loadgen.Progress{Phase: loadgen.PhaseRun, Since: 9, Planned: 10, Due: 90, Delivered: 80}
	next := loadgen.Progress{Phase: loadgen.PhaseDrain, Since: 1, Due: 100, Delivered: 95}
	if p := ended(last, next, 3); p.Phase != loadgen.PhaseRun || p.Since != 11 || p.Delivered != 95 {
		t.Errorf("ended as %+v", p)
	}
	next = loadgen.Progress{Phase: loadgen.PhaseWarm, Due: 1}
	if p := ended(last, next, 3); p.Delivered != 80 {
		t.Errorf("ended with the next step's counts: %+v", p)
	}
}

func TestMeter(t *testing.T) {
	var m meter
	at := time.Unix(100, 0)
	if m.perSecond() != 0 {
		t.Error("a rate without a look")
	}
	m.add(at, 1000)
	if m.perSecond() != 0 {
		t.Error("a rate from one look")
	}
	for i := 1; i <= 20; i++ { // 10/s for 5 s, then 50/s
		n := 1000 + float64(min(i, 10))*5 + float64(max(i-10, 0))*25
		m.add(at.Add(time.Duration(i)*500*time.Millisecond), n)
		if i == 10 && m.perSecond() != 10 {
			t.Errorf("%g/s, want 10", m.perSecond())
		}
	}
	if m.perSecond() != 50 {
		t.Errorf("%g/s, want 50: old looks still count", m.perSecond())
	}
	m.add(at.Add(time.Minute), 3)
	if m.perSecond() != 0 {
		t.Errorf("%g/s after the count began anew", m.perSecond())
	}
}
