package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/host"
	"derpd/loadgen/plan"
	"derpd/loadgen/report"
)

// planOptions are the flags of plan.
type planOptions struct {
	runOptions
	goal    plan.Goal
	search  plan.Options
	clients int
}

func planFlags(fs *flag.FlagSet) func(context.Context, *console, []string) error {
	o := &planOptions{}
	fs.IntVar(&o.goal.Clients, "clients", 10_000, "goal: clients of all hosts together")
	fs.Float64Var(&o.goal.PacketsPerSecond, "rate", 20_000, "goal: packets a second of all hosts "+
		"together")
	fs.Float64Var(&o.goal.Active, "active", 0.1, "goal: `share` of the clients that talk, 0 to 1")
	fs.DurationVar(&o.goal.P99, "p99", 20*time.Millisecond, "goal: bound of latency that 99 of 100 "+
		"packets keep")
	fs.DurationVar(&o.goal.LoginsWithin, "logins-within", time.Minute, "goal: how long all clients "+
		"may take to log in after a cut")
	fs.DurationVar(&o.search.Budget, "budget", time.Minute, "`time` for the search, ramp included")
	fs.Float64Var(&o.search.Safety, "safety", 0.8, "`share` of the latency knee to plan with")
	fs.IntVar(&o.clients, "sim-clients", 0, "clients to simulate; 0 is as many as the budget and the "+
		"goal allow")
	fs.StringVar(&o.workload, "workload", "", "`name` of a workload to plan with; default: talking "+
		"pairs, as many as the goal says")
	o.declareTarget(fs)
	o.declareEngine(fs)
	fs.BoolVar(&o.quiet, "quiet", false, "no progress on standard error")
	fs.StringVar(&o.out, "o", "", "`file` to write the report to, as JSON")
	fs.StringVar(&o.html, "html", "", "`file` to write the report to, as a page")
	return o.plan
}

func (o *planOptions) plan(ctx context.Context, c *console, args []string) error {
	if o.workload != "" {
		o.params.Clients, o.params.Active = o.clients, o.goal.Active
		w, err := o.named(1) // the search sets the rate
		if err != nil {
			return err
		}
		if slices.Contains(unused(o.workload), "clients") {
			if err := o.refuse(useless{true, []string{"sim-clients"},
				"the clients of workload " + o.workload + " are its own"}); err != nil {
				return err
			}
		}
		o.search.Workload = &w
	}
	o.search.Clients = o.clients
	o.search.Busy = o.polls(o.clients)
	job, err := o.job(loadgen.Workload{})
	if err != nil {
		return err
	}
	var stop func()
	if job.Targets, stop, err = o.targets(ctx, args); err != nil {
		return err
	}
	defer stop()
	if o.search.Machine, err = host.ReadMachine(); err != nil {
		return err
	}
	p := plan.Planner{Goal: o.goal, Options: o.search}
	r := newReport(report.Plan, c, job)
	p.Open = func(w loadgen.Workload) (loadgen.Fleet, error) {
		job.Workload, r.Job.Workload = w, w
		return o.open(job)
	}
	if pids := pidsOf(&job); len(pids) > 0 {
		p.Gauge = host.Gauge{PIDs: pids}
	}
	if !o.quiet {
		p.Say = func(format string, args ...any) { fmt.Fprintf(c.Errs, format+"\n", args...) }
	}
	result, err := p.Run(ctx)
	if err != nil {
		r.Error = o.explain(err).Error()
		return o.deliver(c, r)
	}
	if r.Plan, err = json.Marshal(result); err != nil {
		return err
	}
	r.Partial = result.Partial
	switch p := &result.Planned; {
	case result.Wrong != "":
		r.Incidents = append(r.Incidents, result.Wrong)
	case !result.Partial && (p.Rate == 0 || p.P99 == 0):
		r.Incidents = append(r.Incidents, "the plan promises nothing: "+p.Why)
	}
	return o.deliver(c, r, sections(r)...)
}

func pidsOf(job *loadgen.Job) (pids []int) {
	for _, t := range job.Targets {
		if t.PID != 0 {
			pids = append(pids, t.PID)
		}
	}
	return pids
}

// sections are the parts of a report that belong to its kind.
func sections(r *report.Report) []report.Section {
	if len(r.Plan) == 0 {
		return nil
	}
	var result plan.Result
	if err := json.Unmarshal(r.Plan, &result); err != nil {
		return []report.Section{{Title: "Plan", Lines: []string{"It cannot be read: " + err.Error()}}}
	}
	return report.PlanSections(&result)
}
