package netpoll

// NewScant makes a loop on io_uring that is short of everything, for the tests of the contract.
func NewScant(id int, cfg Config) (Runner, error) {
	if err := cfg.complete(id); err != nil {
		return nil, err
	}
	return newURing(id, cfg, scant())
}
