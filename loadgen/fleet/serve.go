package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"derpd/loadgen"
)

// Serve is a worker: it reads requests from in and writes replies to out until it is told to
// close, which is the only end without an error, or in or ctx end. It makes the fleet with open,
// once, and closes it before it returns. Nothing else may write to out.
//
// A Fleet that is a loadgen.Starter is given the common start of a step; for others Serve waits
// until then.
func Serve(ctx context.Context, in io.Reader, out io.Writer,
	open func(loadgen.Job) (loadgen.Fleet, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	s := &service{ctx: ctx, out: out, open: open, done: make(chan struct{}, 1),
		requests: make(chan request), ended: make(chan error, 1)}
	// The reader may stay in a read of in, which nobody can interrupt; it holds nothing but that.
	go s.read(in)
	err := s.run()
	cancel()
	s.working.Wait()
	if s.fleet != nil {
		err = errors.Join(err, s.fleet.Close())
	}
	return err
}

// service is a worker's state. Its fields belong to the goroutine in run, but for out, which is
// guarded.
type service struct {
	ctx      context.Context
	open     func(loadgen.Job) (loadgen.Fleet, error)
	fleet    loadgen.Fleet
	requests chan request
	ended    chan error         // why there are no more requests
	cancel   context.CancelFunc // of what is worked on; nil: nothing is
	done     chan struct{}      // it is answered
	working  sync.WaitGroup

	mu  sync.Mutex
	out io.Writer
	err error // of the first write that failed
}

func (s *service) read(in io.Reader) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, lineBytesMax)
	for lines.Scan() {
		r, err := decodeRequest(lines.Bytes())
		if err != nil {
			s.ended <- err
			return
		}
		select {
		case s.requests <- r:
		case <-s.ctx.Done():
			return
		}
	}
	err := lines.Err()
	if err == nil {
		err = errors.New("the parent process is gone: standard input ended")
	}
	s.ended <- err
}

func (s *service) run() error {
	ticks := time.NewTicker(progressEvery)
	defer ticks.Stop()
	for {
		select {
		case r := <-s.requests:
			if end, err := s.handle(r); end || err != nil {
				return err
			}
		case <-s.done:
			s.cancel()
			s.cancel = nil
		case <-ticks.C:
			if s.cancel != nil {
				p := s.fleet.Progress()
				s.reply(reply{Progress: &p})
			}
		case err := <-s.ended:
			return err
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
		if err := s.broken(); err != nil {
			return fmt.Errorf("the parent process does not listen: %w", err)
		}
	}
}

// handle does what is done at once and starts what takes its time; end tells that it was close.
func (s *service) handle(r request) (end bool, err error) {
	if r.Do == doCancel {
		if s.cancel != nil { // else it crossed the answer on its way
			s.cancel()
		}
		return false, nil
	}
	if s.cancel != nil { // the answer may have gone out a moment before done was seen
		select {
		case <-s.done:
		case err := <-s.ended: // behind r, which is the last request: nobody waits for more
			s.ended <- err
			s.cancel()
			<-s.done
		}
		s.cancel()
		s.cancel = nil
	}
	switch {
	case r.Do == doOpen && s.fleet == nil:
		f, err := s.open(*r.Job)
		if err == nil {
			s.fleet = f
		}
		s.reply(reply{To: doOpen, Error: text(err)})
	case r.Do == doOpen || s.fleet == nil && r.Do != doClose:
		return false, fmt.Errorf("request %q out of turn: open comes first, and once", r.Do)
	case r.Do == doClose:
		var err error
		if s.fleet != nil {
			err = s.fleet.Close()
			s.fleet = nil
		}
		s.reply(reply{To: doClose, Error: text(err)})
		return true, s.broken()
	default:
		ctx, cancel := context.WithCancel(s.ctx)
		s.cancel = cancel
		s.working.Go(func() {
			if r.Do == doRamp {
				res, err := s.fleet.Ramp(ctx)
				s.reply(reply{To: doRamp, Ramp: res, Error: text(err)})
			} else {
				res, err := stepAt(ctx, s.fleet, *r.Step, r.Start)
				s.reply(reply{To: doStep, Step: res, Error: text(err)})
			}
			s.done <- struct{}{}
		})
	}
	return false, nil
}

// stepAt begins a step at start if the fleet cannot do so itself.
func stepAt(ctx context.Context, f loadgen.Fleet, step loadgen.Step,
	start int64) (*loadgen.StepResult, error) {
	if starter, ok := f.(loadgen.Starter); ok {
		return starter.StepAt(ctx, step, start)
	}
	if start > 0 {
		t := time.NewTimer(time.Duration(start - monotonic()))
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return f.Step(ctx, step)
}

// reply writes a line. Both goroutines do.
func (s *service) reply(r reply) {
	line, err := encode(r)
	if err != nil { // a number that JSON does not have, such as a quotient by 0
		if r.To == "" {
			return // the next look may be better
		}
		// A struct of two strings can always be encoded.
		line, _ = encode(reply{To: r.To, Error: fmt.Sprintf("a result cannot be told: %v", err)})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		_, s.err = s.out.Write(line)
	}
}

func (s *service) broken() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
