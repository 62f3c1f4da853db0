package plan

import (
	"context"
	"errors"
	"fmt"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/host"
)

// step is what a step of a window sends, warm-up and drain included.
func step(rate float64, window time.Duration) loadgen.Step {
	return loadgen.Step{Rate: rate, Warm: min(window, stepMax) / warmShare, Window: window,
		Drain: drainMax}
}

// cost is how long it may take at most.
func cost(s loadgen.Step) time.Duration { return s.Warm + s.Window + s.Drain }

// probe runs one step and adds its row. It returns nil if there is no time for it before an end, or
// if the search is over.
func (r *run) probe(ctx context.Context, why Purpose, rate float64, window time.Duration,
	end time.Time) *Row {
	s := step(rate, window)
	s.Busy = r.Options.Busy
	if r.over != nil || r.clock().Add(cost(s)).After(end) {
		return nil
	}
	row := Row{At: r.clock().Sub(r.res.Began), Purpose: why, Rate: rate}
	var before, after host.Reading
	began, gauged := r.clock(), r.read(&before)
	stepCtx, cancel := context.WithTimeout(ctx, cost(s)+graceMax)
	res, err := r.fleet.Step(stepCtx, s)
	late := stepCtx.Err() != nil
	cancel()
	took := r.clock().Sub(began)
	if ctx.Err() != nil {
		r.stop(ctx.Err())
		return nil
	}
	if err != nil {
		r.stop(fmt.Errorf("at %.0f packets/s: %w", rate, err))
		return nil
	}
	row.fill(res, r.counted)
	if gauged && r.read(&after) {
		row.use(&before, &after, res, took)
	}
	r.judge(&row, res, late)
	r.res.Steps = append(r.res.Steps, row)
	r.say("%s %.0f/s: delivered %.0f/s, p99 %v%s", why, rate, row.Delivered,
		row.P99.Round(time.Microsecond), row.remark())
	if row.Lost != "" {
		r.note("at %.0f packets/s %s", rate, row.Lost)
	}
	if row.Lost != "" && r.over == nil {
		r.reopen(ctx)
	}
	return &r.res.Steps[len(r.res.Steps)-1]
}

// fill takes the figures of the window, of the groups that count. The latencies are those of the
// group that waits longest, for a plan promises its p99 to each.
func (row *Row) fill(res *loadgen.StepResult, counted map[string]bool) {
	row.Window, row.latency = res.Window, loadgen.NewHist()
	var due, delivered uint64
	for i := range res.Groups {
		g := &res.Groups[i]
		if counted[g.Name] {
			due += g.Due
			delivered += g.Delivered
			if g.Latency.Count() > 0 && g.Latency.At(99) >= row.latency.At(99) {
				row.latency = g.Latency
			}
		}
	}
	if s := res.Window.Seconds(); s > 0 {
		row.Due, row.Delivered = float64(due)/s, float64(delivered)/s
	}
	row.P50, row.P99, row.P999 = row.latency.At(50), row.latency.At(99), row.latency.At(99.9)
	row.Idle, row.Limited, row.Clients = res.Slack.Idle, res.Slack.Limited, res.Clients
}

// use adds what the relay and others used over the whole step.
func (row *Row) use(before, after *host.Reading, res *loadgen.StepResult, took time.Duration) {
	cpu := after.CPU.Sub(before.CPU).Sum()
	row.RSSBytes, row.tcp = after.RSSBytes, after.Kernel.TCPBytes
	if res.Books.Delivered > 0 {
		row.CPUMicros = float64(cpu.Microseconds()) / float64(res.Books.Delivered)
	}
	if took <= 0 || res.Window <= 0 {
		return
	}
	row.Busy = cpu.Seconds() / took.Seconds()
	// The generator's own time is known for the window only; it works alike before it.
	own := time.Duration(float64(res.Slack.CPU.Sum()) * took.Seconds() / res.Window.Seconds())
	row.Interference = after.Machine.Sub(before.Machine).Interference(cpu + own)
}

// judge says whether the relay carried the step.
func (r *run) judge(row *Row, res *loadgen.StepResult, late bool) {
	switch {
	case late:
		row.Lost = "the step did not end in time"
	case float64(row.Clients) < (1-lostMax)*float64(r.clients):
		row.Lost = fmt.Sprintf("%d of %d clients were left", row.Clients, r.clients)
		for _, line := range res.Failures.Lines() {
			row.Lost += "; " + line
		}
	}
	short := row.Due*deliveredMin - row.Delivered // a second
	edge := row.Rate * edgeMax.Seconds() / max(row.Window.Seconds(), edgeMax.Seconds())
	if res.Wrong.Any() {
		row.Lost = "packets were delivered wrongly"
	}
	row.Carried = row.Lost == "" && row.Due > 0 && row.Delivered > 0 && short <= edge
	row.Within = row.Carried && row.P99 <= r.res.Goal.P99
	if res.Wrong.Any() {
		r.res.Wrong = "the relay delivered packets wrongly (key, order or content), so no rate of it " +
			"is worth planning with"
		r.stop(errors.New(r.res.Wrong))
	}
}

func (row *Row) remark() string {
	switch {
	case row.Lost != "":
		return "; " + row.Lost
	case row.Limited != "":
		return "; the generator was the limit: " + row.Limited
	case !row.Carried:
		return "; it falls behind"
	}
	return ""
}
