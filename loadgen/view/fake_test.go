package view

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"derpd/loadgen"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file of testdata, which was read by a person when it was written.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s; run with -update and read the difference. Got:\n%s", path, got)
	}
}

// fakeFleet goes through its phases by the clock: 2 s to log 1,000 clients in, 2 s more in the
// ramp, 1 s ready, 3 s of warm-up, 10 s of traffic at 2,000 packets a second, 1 s of drain.
type fakeFleet struct {
	began time.Time
	looks int
}

func (f *fakeFleet) Progress() loadgen.Progress {
	f.looks++
	t := time.Since(f.began)
	p := loadgen.Progress{Wanted: 1000, Clients: min(int(t/(2*time.Millisecond)), 1000)}
	phases := []struct {
		phase   loadgen.Phase
		planned time.Duration
		takes   time.Duration
	}{
		{loadgen.PhaseRamp, 0, 4 * time.Second},
		{loadgen.PhaseReady, 0, time.Second},
		{loadgen.PhaseWarm, 3 * time.Second, 3 * time.Second},
		{loadgen.PhaseRun, 10 * time.Second, 10 * time.Second},
		{loadgen.PhaseDrain, 5 * time.Second, time.Second},
	}
	p.Phase = loadgen.PhaseDone
	rest := t
	for _, phase := range phases {
		if rest < phase.takes {
			p.Phase, p.Since, p.Planned = phase.phase, rest, phase.planned
			break
		}
		rest -= phase.takes
	}
	if sending := min(t-5*time.Second, 13*time.Second); sending > 0 {
		p.Due = uint64(sending / (time.Millisecond / 2))
		p.Sent = p.Due
		p.Delivered = p.Due * 99 / 100
		p.Dropped = map[string]uint64{"queue_head": p.Due / 100}
		p.Latency = loadgen.NewHist()
		for i := range 100 {
			p.Latency.Record(time.Duration(80+i) * time.Microsecond)
		}
	}
	return p
}

// screenLog is an output that knows when it was written to.
type screenLog struct {
	sync.Mutex
	bytes.Buffer
	at []time.Time
}

func (l *screenLog) Write(b []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	l.at = append(l.at, time.Now())
	return l.Buffer.Write(b)
}

// busiest is how often it was written to within a second, at most.
func (l *screenLog) busiest() (most int) {
	for i, from := range l.at {
		n := 0
		for _, at := range l.at[i:] {
			if at.Sub(from) < time.Second {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}
