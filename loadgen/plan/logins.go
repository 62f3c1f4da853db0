package plan

import (
	"fmt"
	"time"

	"derpd/loadgen"
)

// logins says what the ramp tells: how fast it went, what a login cost the relay, and which rate
// can be planned with.
func (r *run) logins(res *loadgen.RampResult, took time.Duration) {
	l := &r.res.Logins
	*l = Logins{Clients: res.Clients, Wanted: res.Wanted, Took: res.Took, Failures: res.Failures}
	if res.Login != nil {
		l.P50, l.P99 = res.Login.At(50), res.Login.At(99)
	}
	n := float64(res.Clients)
	if s := res.Took.Seconds(); s > 0 {
		l.PerSecond = n / s
	}
	l.Planned, l.AtLeast = l.PerSecond, true
	l.Why = fmt.Sprintf("%d logged in within %v, %.0f a second", res.Clients,
		res.Took.Round(time.Millisecond), l.PerSecond)
	if !r.gauged || took <= 0 {
		return
	}
	cpu := r.ramped.CPU.Sub(r.before.CPU).Sum()
	l.CPUMicros = float64(cpu.Microseconds()) / n
	l.Busy = cpu.Seconds() / took.Seconds()
	processors := float64(max(r.ramped.Processors, 1))
	l.Why += fmt.Sprintf(", each for %.0f µs of the relay's processor time", l.CPUMicros)
	if l.Busy >= busyMin*processors {
		l.AtLeast = false
		return
	}
	if res.Clients < loginsForCPU || cpu <= 0 {
		return
	}
	byCPU := r.res.Safety * processors * 1e6 / l.CPUMicros
	if byCPU > l.Planned {
		l.Planned, l.Extrapolated, l.AtLeast = byCPU, true, false
		l.Why += fmt.Sprintf("; the relay used %.2f of %.0f processors, which at %g of all gives "+
			"%.0f a second", l.Busy, processors, r.res.Safety, byCPU)
	}
}
