package plan

import (
	"context"
	"errors"
	"fmt"
	"time"

	"derpd/loadgen"
	"derpd/loadgen/host"
)

// Gauge reads what the relay uses; host.Gauge is one.
type Gauge interface {
	Read() (host.Reading, error)
}

// OpenFleet makes the clients of a workload ready to log in. A plan opens one fleet at a time and
// closes each.
type OpenFleet func(loadgen.Workload) (loadgen.Fleet, error)

// Options say how to search; the zero value takes all defaults.
type Options struct {
	Budget time.Duration // of the whole plan; 0: 60 s, at least 10 s
	Safety float64       // planned load over the knee of latency; 0: 0.8
	// Workload is what the clients do, nil for one made from the goal: pairs that talk. The search
	// sets the rate of its groups that have a Share.
	Workload *loadgen.Workload
	Clients  int     // of a made workload; 0: as many as the budget and the goal allow, to 5000
	Start    float64 // packets a second to begin with; 0: from the goal
	Busy     bool    // as in loadgen.Step; what is planned holds for runs of the same kind
	Machine  host.Machine
}

// Planner searches. Goal and Open have to be set.
type Planner struct {
	Goal    Goal
	Options Options
	Open    OpenFleet
	Gauge   Gauge            // nil: the relay's process cannot be read
	Now     func() time.Time // nil: time.Now
	// Say hears of progress, in lines; nil: nobody does.
	Say func(format string, args ...any)
}

// run is one search.
type run struct {
	*Planner
	res      *Result
	clock    func() time.Time
	ends     time.Time // the budget's end
	gauge    Gauge     // nil once it failed
	fleet    loadgen.Fleet
	window   time.Duration // of a short step
	clients  int           // that logged in
	reopened int
	over     error // why no more steps can be run, for good

	before, ramped host.Reading // around the first ramp
	gauged         bool         // they are there
	counted        map[string]bool
}

// Run searches until the plan is complete or the budget is spent. When ctx ends, or the relay goes
// away, the Result has what there is and is marked partial. An error means that nothing could be
// measured: the goal or the workload makes no sense, or no client came in.
func (p *Planner) Run(ctx context.Context) (*Result, error) {
	r, err := p.prepare()
	if err != nil {
		return nil, err
	}
	defer r.close()
	if err := r.ramp(ctx); err != nil {
		return nil, err
	}
	r.search(ctx)
	r.verify(ctx)
	r.close()
	r.res.Took = r.clock().Sub(r.res.Began)
	r.answer()
	return r.res, nil
}

func (p *Planner) prepare() (*run, error) {
	goal, err := p.Goal.complete()
	if err != nil {
		return nil, err
	}
	o := p.Options
	if o.Budget == 0 {
		o.Budget = budgetDefault
	}
	if o.Safety == 0 {
		o.Safety = safetyDefault
	}
	if o.Budget < budgetMin {
		return nil, fmt.Errorf("plan: a budget of %v: at least %v are needed for a ramp, a few "+
			"steps and a verification", o.Budget, budgetMin)
	}
	if !(o.Safety > 0 && o.Safety <= 1) || !(o.Start >= 0 && o.Start <= rateMax) || o.Clients < 0 {
		return nil, fmt.Errorf("plan: safety %g (want above 0, to 1), start %g (0 to %g), clients %d",
			o.Safety, o.Start, rateMax, o.Clients)
	}
	w := goal.workload(o.Budget, o.Clients)
	if o.Workload != nil {
		w = *o.Workload
	}
	if !hasShare(&w) {
		return nil, fmt.Errorf("plan: workload %q has no group whose rate a step sets (Share)",
			w.Name)
	}
	r := &run{Planner: p, clock: p.Now, gauge: p.Gauge, counted: counted(&w)}
	if r.clock == nil {
		r.clock = time.Now
	}
	r.res = &Result{Goal: goal, Workload: w, Machine: o.Machine, Began: r.clock(),
		Budget: o.Budget, Safety: o.Safety}
	r.ends = r.res.Began.Add(o.Budget)
	r.window = min(max(o.Budget/windowShare, stepMin), stepMax)
	return r, nil
}

// counted names the groups whose packets must all be delivered: those that send by a schedule to
// receivers that read.
func counted(w *loadgen.Workload) map[string]bool {
	names := map[string]bool{}
	for i := range w.Groups {
		g := &w.Groups[i]
		names[g.Name] = !g.FullSpeed() && g.Reading == loadgen.Reading{}
	}
	return names
}

func (r *run) say(format string, args ...any) {
	if r.Say != nil {
		r.Say(format, args...)
	}
}

func (r *run) note(format string, args ...any) {
	r.res.Notes = append(r.res.Notes, fmt.Sprintf(format, args...))
}

// stop ends the search for good.
func (r *run) stop(err error) {
	if r.over == nil {
		r.over, r.res.Partial = err, true
		r.note("the plan is not complete: %v", err)
	}
}

func (r *run) left() time.Duration { return r.ends.Sub(r.clock()) }

func (r *run) close() {
	if r.fleet == nil {
		return
	}
	if err := r.fleet.Close(); err != nil {
		r.note("closing the clients: %v", err)
	}
	r.fleet = nil
}

// ramp logs the clients in for the first time and reads the relay before and after.
func (r *run) ramp(ctx context.Context) error {
	var err error
	if r.fleet, err = r.Open(r.res.Workload); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	r.gauged = r.read(&r.before)
	began := r.clock()
	res, err := r.login(ctx)
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	if ctx.Err() != nil {
		r.stop(ctx.Err())
	}
	r.gauged = r.gauged && r.read(&r.ramped)
	r.logins(res, r.clock().Sub(began))
	r.say("%d of %d clients are in, after %v", res.Clients, res.Wanted,
		res.Took.Round(time.Millisecond))
	return nil
}

// login runs the fleet's ramp, bounded by a part of the budget.
func (r *run) login(ctx context.Context) (*loadgen.RampResult, error) {
	bound := time.Duration(rampShare * float64(r.res.Budget))
	ctx, cancel := context.WithTimeout(ctx, min(bound, max(r.left(), 0)+graceMax))
	defer cancel()
	res, err := r.fleet.Ramp(ctx)
	if err != nil {
		return nil, err
	}
	if r.clients = res.Clients; r.clients == 0 {
		return nil, errors.New("no client came in")
	}
	if res.Clients < res.Wanted {
		r.note("%d of %d clients came in; the plan rests on those", res.Clients, res.Wanted)
	}
	return res, nil
}

// reopen logs all clients in anew, after the relay lost some.
func (r *run) reopen(ctx context.Context) {
	if r.reopened++; r.reopened > reopenMax {
		r.stop(fmt.Errorf("the relay lost its clients %d times", r.reopened))
		return
	}
	r.close()
	fleet, err := r.Open(r.res.Workload)
	if err == nil {
		r.fleet = fleet
		_, err = r.login(ctx)
	}
	if err != nil {
		r.stop(fmt.Errorf("the relay lost its clients and they do not come back: %w", err))
	}
}

// read takes a reading. The first failure is noted and ends reading.
func (r *run) read(into *host.Reading) bool {
	if r.gauge == nil {
		return false
	}
	var err error
	if *into, err = r.gauge.Read(); err != nil {
		r.note("the relay's memory and processor time cannot be read: %v", err)
		r.gauge = nil
		return false
	}
	return true
}
