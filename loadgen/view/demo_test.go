package view

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"derpd/loadgen"
)

// fakeDemo has 1,000 clients in after two seconds, and a load that swings.
type fakeDemo struct {
	began   time.Time
	latency *loadgen.Hist
	packets uint64
	last    time.Time
}

func (f *fakeDemo) Progress() loadgen.Progress {
	t := time.Since(f.began)
	if now := time.Now(); now.After(f.last) { // 1,500 to 3,000 packets for each half second
		n := 1500 + 100*uint64(t/time.Second%16)
		f.packets += n
		for i := range n {
			f.latency.Record(time.Duration(60+i/20)*time.Microsecond + t/time.Duration(1000))
		}
		f.last = now
	}
	return loadgen.Progress{Phase: loadgen.PhaseRun, Wanted: 1000,
		Clients: min(int(t/(2*time.Millisecond)), 1000), Due: f.packets, Sent: f.packets,
		Delivered: f.packets, Latency: f.latency.Clone()}
}

func (f *fakeDemo) Relay() RelayStats {
	t := time.Since(f.began)
	s := RelayStats{Connections: min(int(t/(2*time.Millisecond)), 1000), PacketsIn: f.packets,
		PacketsOut: f.packets * 99 / 100, CPU: t / 8, RSSBytes: 12_300_000}
	if t > 20*time.Second {
		s.Dropped = map[string]uint64{"queue_head": 1200, "gone\x1b[2J": 3, "never": 0}
	}
	return s
}

func (f *fakeDemo) demo(out *screenLog) *Demo {
	f.began, f.latency = time.Now(), loadgen.NewHist()
	return &Demo{Title: "derpd: 1,000 clients talk through one relay", Out: out,
		Progress: f.Progress, Relay: f.Relay,
		CPU: func() time.Duration { return time.Since(f.began) / 20 }}
}

// shown is what the last frame of a screen shows.
func shown(out string) string {
	last := out[strings.LastIndex(out, home)+len(home):]
	last, _, _ = strings.Cut(last, restOfAll)
	return strings.NewReplacer(endOfLine, "", "\r\n", "\n").Replace(last) + "\n"
}

func TestDemoFrames(t *testing.T) {
	for _, c := range []struct {
		golden        string
		columns, rows int
		color         bool
		after         time.Duration
	}{
		{"begin.txt", 80, 24, false, 0},
		{"ramp.txt", 80, 24, false, 1200 * time.Millisecond},
		{"minute.txt", 100, 30, false, 59 * time.Second},
		{"color.txt", 80, 24, true, 30 * time.Second},
		{"small.txt", 44, 9, false, 30 * time.Second},
		{"tiny.txt", 1, 1, false, 30 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out screenLog
			d := (&fakeDemo{}).demo(&out)
			d.Terminal = &Terminal{func() (int, int) { return c.columns, c.rows }, c.color}
			ctx, cancel := context.WithTimeout(t.Context(), c.after+time.Millisecond)
			defer cancel()
			d.Run(ctx)
			got := shown(out.String())
			golden(t, c.golden, []byte(got))
			if n := strings.Count(got, "\n"); n > max(c.rows, rowsMin)-1 {
				t.Errorf("%s: %d rows of %d", c.golden, n, c.rows)
			}
			for line := range strings.Lines(got) {
				n := utf8.RuneCountInString(line) - 1
				if !c.color && n > max(c.columns, columnsMin)-1 {
					t.Errorf("%s: %d columns of %d: %s", c.golden, n, c.columns, line)
				}
			}
		})
	}
}

func TestDemoEndsByItselfAndRestoresTheScreen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out screenLog
		d := (&fakeDemo{}).demo(&out)
		d.Terminal = &Terminal{func() (int, int) { return 80, 24 }, true}
		began := time.Now()
		d.Run(t.Context())
		if took := time.Since(began); took != time.Minute {
			t.Errorf("ended after %v", took)
		}
		checkRestored(t, out.String())
		if n := out.busiest(); n > 4 { // two frames; in the last second also the end
			t.Errorf("%d updates within a second", n)
		}
		_, end, _ := strings.Cut(out.String(), leaveScreen)
		if !strings.HasPrefix(end, "1:00: 1,000 clients, ") || strings.Count(end, "\n") != 1 {
			t.Errorf("summed up as %q", end)
		}
	})
}

func checkRestored(t *testing.T, out string) {
	t.Helper()
	if !strings.HasPrefix(out, enterScreen) || strings.Count(out, enterScreen) != 1 ||
		strings.Count(out, leaveScreen) != 1 ||
		strings.LastIndex(out, leaveScreen) < strings.LastIndex(out, home) {
		t.Errorf("the screen is not restored: it ends with %q", out[max(len(out)-120, 0):])
	}
}

func TestDemoRestoresTheScreenWhateverEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out screenLog
		d := (&fakeDemo{}).demo(&out)
		d.Terminal = &Terminal{func() (int, int) { return 80, 24 }, false}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // Ctrl-C
		defer cancel()
		d.Run(ctx)
		checkRestored(t, out.String())

		out = screenLog{}
		looks := 0
		relay := d.Relay
		d.Relay = func() RelayStats {
			if looks++; looks == 3 {
				panic("the look failed")
			}
			return relay()
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			d.Run(t.Context())
		}()
		checkRestored(t, out.String())
	})
}

func TestDemoWithoutATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out screenLog
		d := (&fakeDemo{}).demo(&out)
		d.For = 22 * time.Second
		d.Run(t.Context())
		if bytes.ContainsRune(out.Bytes(), 0x1b) {
			t.Error("it tells a terminal that is none what to do")
		}
		golden(t, "demolines.txt", out.Bytes())
	})
}

func TestSpark(t *testing.T) {
	for _, c := range []struct {
		values  []float64
		columns int
		want    string
	}{
		{nil, 3, "   "},
		{[]float64{0, 0}, 3, " ▁▁"},
		{[]float64{0, 1, 2, 3, 4, 5, 6, 7, 8}, 9, "▁▂▃▄▅▆▇██"},
		{[]float64{9, 9, 1, 8}, 2, "▁█"},
		{[]float64{-1, 2}, 2, "▁█"},
	} {
		if got := spark(c.values, c.columns); got != c.want {
			t.Errorf("%v in %d: %q, want %q", c.values, c.columns, got, c.want)
		}
	}
	var s series
	for i := range 1000 {
		s.add(float64(i))
	}
	got := s.seconds(100)
	if len(got) != 60 || got[59] != 999 || got[0] != 999-2*59 {
		t.Errorf("%d seconds: %v", len(got), got)
	}
}
