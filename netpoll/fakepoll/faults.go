package fakepoll

import "time"

// Faults are the probabilities, 0 to 1, with which a World departs from the easy case. All of
// it stays inside the contract of netpoll except where a field says that a peer is lost.
type Faults struct {
	ShortRead    float64 // a Received gets less than has arrived (per receive)
	SmallArena   float64 // the receive arena of a turn is smaller than the loop's (per turn)
	LatePause    float64 // one Received ignores a fresh PauseReceive or SetReceiveMax (per call)
	SendBlock    float64 // nothing of a Send is taken at once (per Send)
	ShortSend    float64 // only a part is taken (per Send, and each time more is taken)
	DelayedSent  float64 // what follows a blocked Send comes late (each time)
	ReorderReady float64 // a turn serves some of what is ready, in any order (per turn)
	SpuriousWake float64 // a loop runs a turn, with Woken, for nothing (per step)
	SplitClose   float64 // Closed comes turns after the failed Sent (per close)
	AcceptDelay  float64 // a dialled peer reaches the listener late (per Dial)
	AcceptFail   float64 // accept fails with EMFILE and pauses accepting (per accept)
	ConnectFail  float64 // a Connect to a served address is refused or times out (per Connect)
	RudeClose    float64 // Close with unread bytes ends in a reset, as TCP does (per close)
	Reset        float64 // the network resets a connection (per receive and per send)
}

// DefaultFaults is a bad day: everything happens, resets rarely enough that most connections
// live for hundreds of operations.
func DefaultFaults() Faults {
	return Faults{
		ShortRead:    0.30,
		SmallArena:   0.20,
		LatePause:    0.30,
		SendBlock:    0.15,
		ShortSend:    0.20,
		DelayedSent:  0.40,
		ReorderReady: 0.70,
		SpuriousWake: 0.05,
		SplitClose:   0.30,
		AcceptDelay:  0.30,
		AcceptFail:   0.05,
		ConnectFail:  0.05,
		RudeClose:    0.25,
		Reset:        0.0005,
	}
}

// None is a calm world: everything is taken whole, in order and at once. Windows, frozen
// peers, full arenas and timers still do what they do.
func None() Faults { return Faults{} }

// chance draws only when the outcome is open, so that a fault set to zero leaves the random
// sequence of the others alone.
func (w *World) chance(p float64) bool {
	if p <= 0 {
		return false
	}
	return p >= 1 || w.rng.Float64() < p
}

// lag is a random delay of the network: mostly short, sometimes longer than many turns.
func (w *World) lag() time.Duration {
	longest := 100 * time.Microsecond
	switch w.rng.IntN(8) {
	case 0:
		longest = 20 * time.Millisecond
	case 1, 2:
		longest = time.Millisecond
	}
	return time.Duration(w.rng.Int64N(int64(longest)))
}

// part is a random share of n, at least 1: often tiny, since the ends of frames and records
// are where short reads hurt.
func (w *World) part(n int) int {
	if n <= 1 {
		return n
	}
	if w.rng.IntN(2) == 0 {
		return 1 + w.rng.IntN(min(n, 40))
	}
	return 1 + w.rng.IntN(n)
}
