package arrival

import (
	"math"
	"math/rand/v2"

	"derpd/loadgen"
)

// Source yields the due times of one sender, in nanoseconds from the start of a step. It is plain
// data of at most 64 bytes without pointers, and deterministic: a copy goes on alike.
//
// Times are summed up in float64: after a day the sum is still exact to 1/64 ns.
type Source struct {
	random rand.PCG
	due    float64 // of the next packet, ns; +Inf: never
	space  float64 // ns: to the next packet; OnOff: while on; Bursts: mean, to the next burst
	end    float64 // OnOff: when the present time on ends, ns
	on     float32 // OnOff: mean time on, ns; 0: another kind
	off    float32 // OnOff: mean time off, ns
	burst  uint32  // Bursts: packets of each; Poisson is bursts of 1; 0: evenly spaced
	left   uint32  // Bursts: packets that are due with the next one, after it
}

// New returns the schedule of sender index of that many, for an Arrival that Check finds right; it
// panics for another. perSecond is the sender's mean rate, for all kinds; at a rate that is not
// above 0 no packet is ever due. The first packet of a constant sender is due at index/senders of
// its space, so that the senders of a group are evenly out of step. Whether an on-off sender begins
// on is drawn. Seed and index together give the random numbers: one seed does for all senders.
func New(a loadgen.Arrival, perSecond float64, index, senders int, seed uint64) Source {
	s := Source{random: *rand.NewPCG(seed, uint64(index)), due: math.Inf(1)}
	if !(perSecond > 0) {
		return s
	}
	if err := Check(a); err != nil {
		panic(err)
	}
	s.space = 1e9 / perSecond
	phase := float64(index) / float64(max(senders, 1))
	switch a.Kind {
	case loadgen.Constant:
		s.due = phase * s.space
	case loadgen.Poisson:
		s.burst = 1
		s.nextBurst(0)
	case loadgen.Bursts:
		s.burst = uint32(a.Burst)
		s.space *= float64(a.Burst)
		s.nextBurst(0)
	case loadgen.OnOff:
		on, off := float64(a.On), float64(a.Off)
		if s.space/(on+off) > cyclesPerPacketMax {
			s.due = phase * s.space
			break
		}
		s.on, s.off = float32(on), float32(off)
		s.space *= on / (on + off)
		if s.uniform() < on/(on+off) {
			s.end = s.exponential(on) // what is left of an exponential time is one again
		}
		s.due = phase * s.space
		s.skipOff()
	}
	return s
}

// Due returns the time of the next packet without taking it; math.MaxInt64 means never. It never
// goes back from one packet to the next.
func (s *Source) Due() int64 {
	if s.due >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(s.due)
}

// Advance takes the packet that is due next.
func (s *Source) Advance() {
	switch {
	case s.left > 0:
		s.left--
	case s.burst > 0:
		s.nextBurst(s.due)
	default:
		s.due += s.space
		if s.on > 0 {
			s.skipOff()
		}
	}
}

// nextBurst makes the next burst due after that time.
func (s *Source) nextBurst(after float64) {
	s.due = after + s.exponential(s.space)
	s.left = s.burst - 1
}

// skipOff moves a packet that is due behind the end of the time on by the time off that follows, so
// that only time on counts for the schedule and the mean rate stays what it is.
func (s *Source) skipOff() {
	for s.due >= s.end {
		off := s.exponential(float64(s.off))
		s.due += off
		s.end += off + s.exponential(float64(s.on))
	}
}

// uniform returns a random number of [0, 1) with 53 bits.
func (s *Source) uniform() float64 { return float64(s.random.Uint64()>>11) / (1 << 53) }

// exponential returns a random time with that mean, by inversion.
func (s *Source) exponential(mean float64) float64 { return -math.Log(1-s.uniform()) * mean }
