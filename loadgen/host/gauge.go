package host

import (
	"errors"
	"fmt"

	"derpd/loadgen"
)

// Gauge reads what a relay uses on this machine.
type Gauge struct{ PIDs []int } // the relay's processes

// Reading is one look at a relay and its machine.
type Reading struct {
	CPU         loadgen.CPU `json:"cpu"` // since the processes started
	RSSBytes    int64       `json:"rss_bytes"`
	Descriptors int         `json:"descriptors"` // open files
	// DescriptorsMax is the sum of the processes' soft limits of open files; MaxInt64: none.
	DescriptorsMax int64  `json:"descriptors_max"`
	Processors     int    `json:"processors"` // that the relay may run on
	Kernel         Kernel `json:"kernel"`
	Machine        Use    `json:"machine"`
}

// Read looks at all processes and adds them up. It is an error if one of them has ended.
func (g Gauge) Read() (r Reading, err error) {
	if len(g.PIDs) == 0 {
		return r, errors.New("host: no process of the relay is known: pass its pid")
	}
	for _, pid := range g.PIDs {
		if err := r.add(pid); err != nil {
			return r, fmt.Errorf("host: read the relay's process %d: %w", pid, err)
		}
	}
	var err1, err2 error
	r.Kernel, err1 = ReadKernel()
	r.Machine, err2 = ReadUse()
	return r, errors.Join(err1, err2)
}

func (r *Reading) add(pid int) error {
	cpu, err1 := CPU(pid)
	rss, err2 := RSS(pid)
	open, err3 := descriptors(pid)
	openMax, err4 := descriptorsMax(pid)
	cpus, err5 := processors(pid)
	r.CPU.User += cpu.User
	r.CPU.System += cpu.System
	r.RSSBytes += rss
	r.Descriptors += open
	if r.DescriptorsMax += openMax; r.DescriptorsMax < 0 {
		r.DescriptorsMax = openMax // no limit, twice
	}
	r.Processors = max(r.Processors, cpus)
	return errors.Join(err1, err2, err3, err4, err5)
}
