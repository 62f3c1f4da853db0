package plan

import (
	"fmt"

	"derpd/loadgen"
)

// Missed tells what of a plan a step of its workload did not keep, each in a sentence. It is kept
// if of what was due in the window, of the groups that the plan counts, as much was delivered as
// the plan demands, and to each of them something, within the promised p99. What TCP did not take
// was due as well. A step that was interrupted keeps and misses nothing.
func (res *Result) Missed(s *loadgen.StepResult) (missed []string) {
	if s.Partial {
		return nil
	}
	counts := counted(&res.Workload)
	var due, delivered float64
	for i := range s.Groups {
		g := &s.Groups[i]
		if !counts[g.Name] {
			continue
		}
		// Those due in the window, whenever they came: what is late shows in the p99.
		n := g.Latency.Count()
		due += float64(g.Due)
		delivered += float64(n)
		if n == 0 {
			missed = append(missed, fmt.Sprintf("%s got none of the %d packets due", g.Name, g.Due))
		} else if p99 := g.Latency.At(99); p99 > res.Planned.P99 {
			missed = append(missed, fmt.Sprintf("the p99 of %s was %v, the plan promises %v", g.Name,
				p99, res.Planned.P99))
		}
	}
	if delivered < deliveredMin*due {
		missed = append(missed, fmt.Sprintf("%.2f %% of the packets due were delivered, the plan "+
			"demands %g %%", 100*delivered/due, 100*deliveredMin))
	}
	return missed
}
