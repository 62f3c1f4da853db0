package fleet

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"derpd/loadgen"
)

// fleet is the parent's side: it divides what it is asked among worker processes and merges what
// they answer.
type fleet struct {
	workers []*worker
	keeper  *keeper
	why     string
}

var _ loadgen.Starter = (*fleet)(nil)

// Open starts parts processes of argv (a program that calls Serve, such as os.Executable with a
// subcommand) and gives each its part of the job. Loops that the job does not say are divided
// among them like those that it says, one for each processor but one in all. why is told in the
// RampResult. The error is of the first worker that does not come up, with the end of its log;
// then none is left.
func Open(job loadgen.Job, parts int, argv []string, why string) (loadgen.Fleet, error) {
	f, err := openWith(job, parts, argv, why, usualWaits)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func openWith(job loadgen.Job, parts int, argv []string, why string, w waits) (*fleet, error) {
	if parts < 1 || parts > partsMax {
		return nil, fmt.Errorf("%d worker processes cannot be: 1 to %d can; raise the limit of "+
			"open files (ulimit -n) or take fewer clients", parts, partsMax)
	}
	if len(argv) == 0 {
		return nil, errors.New("no program to start worker processes of")
	}
	if job.Options.Loops == 0 {
		job.Options.Loops = max(runtime.NumCPU()-1, 1)
	}
	f := &fleet{keeper: newKeeper(), why: why}
	jobs := Split(job, parts)
	for i := range jobs {
		name := fmt.Sprintf("worker %d of %d", i+1, parts)
		p, err := startWorker(f.keeper, argv, name, jobs[i].Workload.Clients(), w)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		f.workers = append(f.workers, p)
	}
	errs := make([]error, parts)
	f.each(func(i int, p *worker) {
		answer, err := p.call(context.Background(), request{Do: doOpen, Job: &jobs[i]})
		if err == nil && answer.Error != "" {
			err = fmt.Errorf("%s: %s", p.name, answer.Error)
		}
		errs[i] = err
	})
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return nil, errors.Join(errs[i], f.Close())
	}
	return f, nil
}

// each runs do for all workers at the same time and waits for it.
func (f *fleet) each(do func(i int, p *worker)) {
	var all sync.WaitGroup
	for i, p := range f.workers {
		all.Go(func() { do(i, p) })
	}
	all.Wait()
}

// ask sends all workers that are there the same request. The second slice has for each part what
// is in the way of its result: that it is gone, or its own error.
func (f *fleet) ask(ctx context.Context, r request) ([]reply, []error) {
	answers, errs := make([]reply, len(f.workers)), make([]error, len(f.workers))
	f.each(func(i int, p *worker) {
		if answers[i], errs[i] = p.call(ctx, r); errs[i] == nil && answers[i].Error != "" {
			errs[i] = fmt.Errorf("%s: %s", p.name, answers[i].Error)
		}
	})
	return answers, errs
}

// Ramp implements loadgen.Fleet. A part without a result is counted as local failures of all its
// clients, and the result is partial; an error is that no part has one.
func (f *fleet) Ramp(ctx context.Context) (*loadgen.RampResult, error) {
	answers, errs := f.ask(ctx, request{Do: doRamp})
	if err := ofAll(errs); err != nil {
		return nil, err
	}
	var parts []*loadgen.RampResult
	for i, p := range f.workers {
		part := answers[i].Ramp
		if errs[i] != nil {
			part = &loadgen.RampResult{Wanted: p.clients, Partial: true, Failures: p.failed(errs[i])}
		}
		parts = append(parts, part)
	}
	sum := loadgen.MergeRamp(parts)
	sum.Processes, sum.Why = len(f.workers), f.why
	return sum, nil
}

// Step implements loadgen.Fleet. All parts begin at one moment, startAhead from now.
func (f *fleet) Step(ctx context.Context, s loadgen.Step) (*loadgen.StepResult, error) {
	return f.StepAt(ctx, s, monotonic()+int64(startAhead))
}

// StepAt implements loadgen.Starter. Parts without a result are counted as in Ramp, also those
// that are gone since an earlier step.
func (f *fleet) StepAt(ctx context.Context, s loadgen.Step, start int64) (*loadgen.StepResult,
	error) {
	answers, errs := f.ask(ctx, request{Do: doStep, Step: &s, Start: start})
	if err := ofAll(errs); err != nil {
		return nil, err
	}
	var parts []*loadgen.StepResult
	for i, answer := range answers {
		if errs[i] == nil {
			parts = append(parts, answer.Step)
		}
	}
	sum := loadgen.MergeSteps(parts)
	for i, p := range f.workers {
		if errs[i] != nil {
			// It adds no result of zeros, for it has no say in how idle loops were.
			sum.Partial = true
			sum.Failures.Merge(p.failed(errs[i]))
		}
	}
	sum.Step, sum.Processes = s, len(f.workers)
	return sum, nil
}

// ofAll is an error if there is no part without one: the first, for most often all say the same.
func ofAll(errs []error) error {
	if slices.Contains(errs, nil) {
		return nil
	}
	return errs[0]
}

// failed counts all clients of a part.
func (p *worker) failed(err error) (f loadgen.Failures) {
	f.Add(loadgen.FailLocal, uint64(p.clients), oneLine(err))
	return f
}

// Progress implements loadgen.Fleet: the last that each part has told, a part that is gone being
// done, with all of its clients failed.
func (f *fleet) Progress() loadgen.Progress {
	looks := make([]loadgen.Progress, 0, len(f.workers))
	for _, p := range f.workers {
		looks = append(looks, p.look())
	}
	return loadgen.MergeProgress(looks)
}

// Close implements loadgen.Fleet: it ends all workers, by force if they do not end themselves.
// When it returns there is no process left. The error is of workers that were killed for it, and
// of fleets in them.
func (f *fleet) Close() error {
	errs := make([]error, len(f.workers))
	f.each(func(i int, p *worker) { errs[i] = p.close() })
	f.keeper.close()
	return errors.Join(errs...)
}
