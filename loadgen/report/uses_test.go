package report

import (
	"testing"
	"time"

	"derpd/loadgen"
)

// TestMergeOnOneMachine: two generators on the relay's machine have both read what it used.
func TestMergeOnOneMachine(t *testing.T) {
	use := func(ms time.Duration, rss int64) []loadgen.RelayUse {
		return []loadgen.RelayUse{{PID: 7, CPU: loadgen.CPU{User: ms * time.Millisecond},
			RSSBytes: rss, GrewBytes: rss / 2}}
	}
	for _, tc := range []struct {
		host   string // of the second
		cpu    time.Duration
		rss    int64
		kernel int64
		relays int
	}{
		{"bench-1", 210 * time.Millisecond, 130, 900, 1},
		{"bench-2", 410 * time.Millisecond, 230, 1700, 2},
	} {
		a, b := machine(1), machine(2)
		b.Host = tc.host
		a.Steps[0].Relays, b.Steps[0].Relays = use(200, 130), use(210, 100)
		a.Ramp.Relays, b.Ramp.Relays = use(200, 130), use(210, 100)
		a.Ramp.KernelBytes, b.Ramp.KernelBytes = 800, 900
		merged, err := Merge([]*Report{a, b})
		if err != nil {
			t.Fatal(err)
		}
		for _, relays := range [][]loadgen.RelayUse{merged.Steps[0].Relays, merged.Ramp.Relays} {
			var cpu time.Duration
			var rss int64
			for _, u := range relays {
				cpu += u.CPU.Sum()
				rss += u.RSSBytes
			}
			if len(relays) != tc.relays || cpu != tc.cpu || rss != tc.rss {
				t.Errorf("%s: %+v", tc.host, relays)
			}
		}
		if merged.Ramp.KernelBytes != tc.kernel {
			t.Errorf("%s: the kernel had %d bytes", tc.host, merged.Ramp.KernelBytes)
		}
		if a.Steps[0].Relays[0].CPU.User != 200*time.Millisecond {
			t.Error("merging changed a part")
		}
	}
}

// TestMergeOfFrozenReceivers: the relay dropped 800 of the thousand packets that each of two machines
// sent to one who does not read, and the rest can still come, whoever has read its counters.
func TestMergeOfFrozenReceivers(t *testing.T) {
	for readers := 1; readers <= 2; readers++ {
		var all []*Report
		for i := range 2 {
			r := machine(i + 1)
			for _, s := range r.Steps {
				s.Books = loadgen.Books{Due: 1000, Sent: 1000, InFlight: 1000, Exposed: 1000}
				if i < readers {
					s.Books.Dropped = map[string]uint64{"queue_head": 1600}
					s.Books.DroppedKnown = true
					s.Books.Settle()
				}
			}
			all = append(all, r)
		}
		merged, err := Merge(all)
		if err != nil {
			t.Fatal(err)
		}
		if b := &merged.Steps[0].Books; b.Unexplained() != 0 || b.InFlight != 400 {
			t.Errorf("%d readers: unexplained %d, %+v", readers, b.Unexplained(), *b)
		}
	}
}
