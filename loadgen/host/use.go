package host

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// Use is processor time of the whole machine since it started, over all processors.
type Use struct {
	Busy  time.Duration `json:"busy_ns"`  // in programs, the kernel and interrupts
	Steal time.Duration `json:"steal_ns"` // what the hypervisor gave to others
	Idle  time.Duration `json:"idle_ns"`  // waiting for disks included
}

// Sub is the difference of two readings.
func (u Use) Sub(before Use) Use {
	return Use{u.Busy - before.Busy, u.Steal - before.Steal, u.Idle - before.Idle}
}

// Interference is what others did to a measurement, as shares of all processors, 0 to 1.
type Interference struct {
	Steal float64 `json:"steal"` // the hypervisor's other guests
	Other float64 `json:"other"` // other processes of this machine
}

// Interference tells what of an interval's use was not known, known being the processor time in it
// of the relay and the generator.
func (u Use) Interference(known time.Duration) Interference {
	all := float64(u.Busy + u.Steal + u.Idle)
	if all <= 0 {
		return Interference{}
	}
	// Time is counted in ticks, here and in a process, so a small difference may be negative.
	return Interference{Steal: max(0, float64(u.Steal)/all), Other: max(0, float64(u.Busy-known)/all)}
}

// ReadUse reads /proc/stat.
func ReadUse() (Use, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Use{}, err
	}
	return parseUse(b)
}

// parseUse reads "cpu user nice system idle iowait irq softirq steal …", proc(5). What guests use
// is part of user.
func parseUse(b []byte) (Use, error) {
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return Use{}, fmt.Errorf("host: /proc/stat begins with %q", line)
	}
	var t [9]time.Duration
	for i := 1; i < len(t); i++ {
		var err error
		if t[i], err = parseTicks(f[i]); err != nil {
			return Use{}, err
		}
	}
	return Use{Busy: t[1] + t[2] + t[3] + t[6] + t[7], Steal: t[8], Idle: t[4] + t[5]}, nil
}
