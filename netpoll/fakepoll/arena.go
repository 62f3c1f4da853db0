package fakepoll

import (
	"bytes"
	"unsafe"
)

// poison is what received bytes become after Flush.
const poison = 0xDB

// arena is what the Received buffers of a turn are cut from. Two halves serve in turns, so
// that a slice kept from the last turn shows poison rather than fresh bytes of this one.
type arena struct {
	halves [2][]byte
	used   [2]int // bytes handed out in the half's latest turn
	active int    // the half of this turn, or of the last one
	open   bool   // a turn is on
	limit  int    // of this turn
	clean  []byte // poison, for comparison
}

func newArena(size int) arena {
	a := arena{clean: bytes.Repeat([]byte{poison}, size)}
	for i := range a.halves {
		a.halves[i] = bytes.Clone(a.clean)
	}
	return a
}

// begin starts a turn with limit bytes. False: someone wrote to buffers of an earlier turn.
func (a *arena) begin(limit int) bool {
	a.active ^= 1
	a.open, a.limit = true, limit
	intact := a.intact(0) && a.intact(1)
	a.used[a.active] = 0
	return intact
}

func (a *arena) intact(half int) bool {
	n := a.used[half]
	return bytes.Equal(a.halves[half][:n], a.clean[:n])
}

// room is how many bytes this turn can still receive.
func (a *arena) room() int { return a.limit - a.used[a.active] }

// cut hands out the next n bytes.
func (a *arena) cut(n int) []byte {
	from := a.used[a.active]
	a.used[a.active] += n
	return a.halves[a.active][from : from+n : from+n]
}

// end takes back what the turn handed out.
func (a *arena) end() {
	n := a.used[a.active]
	copy(a.halves[a.active][:n], a.clean)
	a.open = false
}

// current tells whether b, not empty, was received in the turn that is on.
func (a *arena) current(b []byte) bool { return a.open && within(b, a.halves[a.active]) }

// stale tells whether b, not empty, was received in an earlier turn.
func (a *arena) stale(b []byte) bool {
	for i, half := range a.halves {
		if within(b, half) && !(a.open && i == a.active) {
			return true
		}
	}
	return false
}

// within tells whether b begins inside room.
func within(b, room []byte) bool {
	from := uintptr(unsafe.Pointer(unsafe.SliceData(room)))
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	return at >= from && at < from+uintptr(len(room))
}
