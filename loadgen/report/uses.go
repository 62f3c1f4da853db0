package report

import "derpd/loadgen"

// uses are what relays used by the reports that were looked at, each relay's once: generators on
// its machine have all read it.
type uses map[process]*loadgen.RelayUse

// process is one of a machine.
type process struct {
	host string
	pid  int
}

// once returns those of a report that none before it has. Of the others the larger figures count,
// and stay with the first.
func (u uses) once(r *Report, list []loadgen.RelayUse) []loadgen.RelayUse {
	if !r.ofOneMachine() {
		return list
	}
	fresh := make([]loadgen.RelayUse, 0, len(list)) // never longer: what u points at stays
	for _, use := range list {
		of := process{r.Host, use.PID}
		if first := u[of]; first != nil {
			if use.CPU.Sum() > first.CPU.Sum() {
				first.CPU = use.CPU
			}
			first.RSSBytes = max(first.RSSBytes, use.RSSBytes)
			first.GrewBytes = max(first.GrewBytes, use.GrewBytes)
			continue
		}
		fresh = append(fresh, use)
		u[of] = &fresh[len(fresh)-1]
	}
	return fresh
}

// rampOnce joins the ramps of all, with what relays and the kernels of machines used counted once.
func rampOnce(reports []*Report) *loadgen.RampResult {
	var ramps []*loadgen.RampResult
	used := uses{}
	kernels := map[string]int64{} // bytes, by machine
	var kernel int64
	for _, r := range reports {
		if r.Ramp == nil {
			continue
		}
		ramp := *r.Ramp
		ramp.Relays = used.once(r, ramp.Relays)
		ramps = append(ramps, &ramp)
		if !r.ofOneMachine() {
			kernel += ramp.KernelBytes
			continue
		}
		kernels[r.Host] = max(kernels[r.Host], ramp.KernelBytes)
	}
	if len(ramps) == 0 {
		return nil
	}
	for _, bytes := range kernels {
		kernel += bytes
	}
	merged := loadgen.MergeRamp(ramps)
	merged.KernelBytes = kernel
	return merged
}

// ofOneMachine tells whether everything in a report was read on its Host.
func (r *Report) ofOneMachine() bool { return r.Host != "" && len(r.Merged) == 0 }
