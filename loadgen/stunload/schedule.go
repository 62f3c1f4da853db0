package stunload

import (
	"derpd/loadgen"
	"derpd/loadgen/arrival"
)

// schedule merges the due times of all sockets: a heap of sources by when they are due next.
type schedule struct {
	sources []source
}

type source struct {
	arrival.Source
	socket int32
}

// newSchedule spreads a rate evenly over that many sockets.
func newSchedule(a loadgen.Arrival, perSecond float64, sockets int, seed uint64) *schedule {
	s := &schedule{sources: make([]source, sockets)}
	for i := range s.sources {
		s.sources[i] = source{
			arrival.New(a, perSecond/float64(sockets), i, sockets, seed), int32(i)}
	}
	for i := sockets/2 - 1; i >= 0; i-- {
		s.down(i)
	}
	return s
}

// due is when the next request is due, ns from the start.
func (s *schedule) due() int64 { return s.sources[0].Due() }

// take takes the request that is due next and returns its socket.
func (s *schedule) take() (socket int32) {
	socket = s.sources[0].socket
	s.sources[0].Advance()
	s.down(0)
	return socket
}

// rest takes what is due from one time on until another, and says how much that is. The order of
// the sources is lost: nothing can be taken any more.
func (s *schedule) rest(from, until int64) (requests uint64) {
	for i := range s.sources {
		for src := &s.sources[i].Source; src.Due() < until; src.Advance() {
			if src.Due() >= from {
				requests++
			}
		}
	}
	return requests
}

// down moves a source away from the root until those below it are due later.
func (s *schedule) down(i int) {
	for {
		first := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(s.sources); child++ {
			if s.sources[child].Due() < s.sources[first].Due() {
				first = child
			}
		}
		if first == i {
			return
		}
		s.sources[i], s.sources[first] = s.sources[first], s.sources[i]
		i = first
	}
}
