package netpoll

import "fmt"

// Engine names a kind of loop.
type Engine string

// The engines.
const (
	EngineEpoll = Engine("epoll")
	EngineURing = Engine("io_uring")
)

// Runner is a loop that has still to be run: Run runs it on the calling goroutine until Stop.
type Runner interface {
	Loop
	Run(Handler) error
}

// Discard frees a loop that will not be run, and its listeners.
func Discard(r Runner) error {
	r.Stop()
	return r.Run(nobody{})
}

// nobody is told that a loop ends, and there is nothing else to tell of one without connections.
type nobody struct{ Handler }

func (nobody) Woken() {}
func (nobody) Flush() {}

// New makes a loop of that kind (NewEpoll, NewURing).
func (e Engine) New(id int, cfg Config) (Runner, error) {
	switch e {
	case EngineEpoll:
		return NewEpoll(id, cfg)
	case EngineURing:
		return NewURing(id, cfg)
	}
	return nil, fmt.Errorf("netpoll: engine %q: there are %s and %s", string(e), EngineEpoll,
		EngineURing)
}
