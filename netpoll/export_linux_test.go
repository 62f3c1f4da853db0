package netpoll

import "time"

// NewGathering makes a loop of the kind that an Engine names, which gathers before each turn,
// however little comes.
func NewGathering(kind Engine, id int, cfg Config) (Runner, error) {
	const always = 200 * time.Microsecond
	l, err := kind.New(id, cfg)
	switch l := l.(type) {
	case *Epoll:
		l.pace.Wait, l.pace.Enough = always, 3
	case *URing:
		l.pace.Wait, l.pace.Enough = always, 3
	}
	return l, err
}

// NewScant makes a loop on io_uring that is short of everything, for the tests of the contract.
func NewScant(id int, cfg Config) (Runner, error) {
	if err := cfg.complete(id); err != nil {
		return nil, err
	}
	return newURing(id, cfg, scant())
}
