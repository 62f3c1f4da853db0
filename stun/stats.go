package stun

import "sync/atomic"

// Stats counts datagrams since the Server was made.
type Stats struct {
	ReadErrors  uint64 // reads that failed, other than by Close
	NotSTUN     uint64 // datagrams that got silence, whatever the Verdict
	WriteErrors uint64 // requests whose answer could not be sent
	Successes   uint64 // answers given to the network
	IPv4, IPv6  uint64 // requests by the family of their sender
	NoLocalAddr uint64 // requests of which the kernel did not tell the address asked
}

// counters are written by the Serve goroutine, once a batch, and read by Stats; each stands
// for itself and publishes nothing else.
type counters struct {
	readErrors, notSTUN, writeErrors, successes atomic.Uint64
	ipv4, ipv6, noLocalAddr                     atomic.Uint64
}

// add adds what a batch has counted.
func (c *counters) add(s *Stats) {
	for _, p := range [...]struct {
		counter *atomic.Uint64
		n       uint64
	}{
		{&c.readErrors, s.ReadErrors}, {&c.notSTUN, s.NotSTUN},
		{&c.writeErrors, s.WriteErrors}, {&c.successes, s.Successes},
		{&c.ipv4, s.IPv4}, {&c.ipv6, s.IPv6}, {&c.noLocalAddr, s.NoLocalAddr},
	} {
		if p.n > 0 {
			p.counter.Add(p.n)
		}
	}
}

// load reads all counters, one after the other.
func (c *counters) load() Stats {
	return Stats{
		ReadErrors: c.readErrors.Load(), NotSTUN: c.notSTUN.Load(),
		WriteErrors: c.writeErrors.Load(), Successes: c.successes.Load(),
		IPv4: c.ipv4.Load(), IPv6: c.ipv6.Load(), NoLocalAddr: c.noLocalAddr.Load(),
	}
}
