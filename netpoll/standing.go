package netpoll

// standing is how long more has been waiting behind each receive of a connection: how long its
// receive queue stands, because this loop is slower than the peer, or does not receive. The kernel
// makes a socket's buffer larger as long as its bytes are taken, on many machines up to 32 MB, and
// each packet then waits for the megabytes before it. So the buffer of a queue that stands for long
// is kept at its size until the queue has not stood for a while.
type standing struct {
	since uint16 // when it began, as stamp counts; 0: the queue was empty
	last  uint16 // when it had last stood for long; 0: the buffer is the kernel's to change
}

// bufferChange is what is to be done about the receive buffer of a connection.
type bufferChange int8

const (
	bufferStays bufferChange = iota
	bufferKept               // at its size from now on
	bufferFreed              // for the kernel to change again
)

// received tells of a receive, and whether more was waiting behind it.
func (s *standing) received(more bool, now int64) bufferChange {
	at := stamp(now)
	switch {
	case !more:
		s.since = 0
	case s.since == 0:
		s.since = at
	}
	long := s.since != 0 && at-s.since >= standingLong
	switch {
	case long && s.last == 0:
		s.last = at
		return bufferKept
	case long:
		s.last = at
	case s.last != 0 && at-s.last >= standingOver:
		s.last = 0
		return bufferFreed
	}
	return bufferStays
}

// kept tells whether the buffer is to keep its size.
func (s *standing) kept() bool { return s.last != 0 }

// stamp is a time in milliseconds (of 1<<20 ns), an odd number: never 0. A minute later it is the
// same again, which may put off by a minute what is done about a connection that is hardly used.
func stamp(now int64) uint16 { return uint16(now>>20) | 1 }
