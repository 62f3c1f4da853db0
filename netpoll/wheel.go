package netpoll

import (
	"math/bits"
	"time"
)

// wheel is a hashed timer wheel: a ring of lists, one a tick, each timer in the list of the
// tick it is due at (modulo the ring). Timers are numbered by their user, their links are
// indices, and nothing in it is a pointer to a timer, so that the garbage collector has
// nothing to look at. It reads no clock: now is given, in nanoseconds of one time base.
//
// A timer that is set again to a later time stays where it is and only learns its new time;
// it is moved when its old time comes. A timer pushed back with every packet so costs one
// store, and one move a round.
type wheel struct {
	base   int64  // nanoseconds at tick 0
	cursor uint32 // the last tick whose list was detached
	heads  [wheelSlots + 1]int32
	used   [wheelSlots / 64]uint64 // one bit a slot: its list is not empty
	pages  []*[connsPerPage]timer
	armed  int
}

// timer is one node of the wheel.
type timer struct {
	next, prev int32  // in the list, noTimer at its ends
	due        uint32 // tick, modulo 2^32
	list       uint16 // 1 + index in heads; 0 is not armed
}

const (
	noTimer = -1
	// detached is the list of the tick that is being expired. It is not on the ring, so
	// that a timer put back to the same slot for a later round is not met again.
	detached = wheelSlots
)

func newWheel(now int64) *wheel {
	w := &wheel{base: now}
	for i := range w.heads {
		w.heads[i] = noTimer
	}
	return w
}

// grow makes room for the timers 0 to n-1.
func (w *wheel) grow(n int) {
	for len(w.pages)*connsPerPage < n {
		w.pages = append(w.pages, new([connsPerPage]timer))
	}
}

func (w *wheel) at(id int32) *timer {
	return &w.pages[id>>pageBits][id&(connsPerPage-1)]
}

// tick is the last tick that has begun at now.
func (w *wheel) tick(now int64) uint32 {
	return uint32((now - w.base) / int64(TimerTick))
}

// set arms a timer to fire d after now, at the first tick that does not come too early.
// d is positive.
func (w *wheel) set(id int32, now int64, d time.Duration) {
	due := w.tick(now + int64(min(d, timeoutMax)) + int64(TimerTick) - 1)
	t := w.at(id)
	if t.list != 0 {
		if int32(due-t.due) >= 0 {
			t.due = due
			return
		}
		w.unlink(id, t)
	}
	t.due = due
	w.link(id, t, int32(due%wheelSlots))
}

// stop disarms a timer.
func (w *wheel) stop(id int32) {
	if t := w.at(id); t.list != 0 {
		w.unlink(id, t)
	}
}

func (w *wheel) link(id int32, t *timer, list int32) {
	t.list = uint16(list + 1)
	t.prev = noTimer
	t.next = w.heads[list]
	if t.next != noTimer {
		w.at(t.next).prev = id
	}
	w.heads[list] = id
	if list != detached {
		w.used[list/64] |= 1 << (list % 64)
	}
	w.armed++
}

func (w *wheel) unlink(id int32, t *timer) {
	list := int32(t.list) - 1
	if t.next != noTimer {
		w.at(t.next).prev = t.prev
	}
	if t.prev != noTimer {
		w.at(t.prev).next = t.next
	} else {
		w.heads[list] = t.next
		if t.next == noTimer && list != detached {
			w.used[list/64] &^= 1 << (list % 64)
		}
	}
	t.list = 0
	w.armed--
}

// pop disarms and returns one timer that is due at now, or false when no more are. Timers
// may be set and stopped between calls.
func (w *wheel) pop(now int64) (int32, bool) {
	target := w.tick(now)
	if target-w.cursor > wheelSlots {
		w.cursor = target - wheelSlots // one round meets every timer
	}
	for {
		for w.heads[detached] != noTimer {
			id := w.heads[detached]
			t := w.at(id)
			w.unlink(id, t)
			if int32(t.due-target) <= 0 {
				return id, true
			}
			w.link(id, t, int32(t.due%wheelSlots))
		}
		if w.cursor == target {
			return 0, false // as in most turns: the tick is still the same
		}
		distance := w.ahead()
		if distance > target-w.cursor {
			w.cursor = target
			return 0, false
		}
		w.cursor += distance
		w.detach(w.cursor % wheelSlots)
	}
}

// detach moves the list of a slot off the ring.
func (w *wheel) detach(slot uint32) {
	for id := w.heads[slot]; id != noTimer; id = w.at(id).next {
		w.at(id).list = detached + 1
	}
	w.heads[detached] = w.heads[slot]
	w.heads[slot] = noTimer
	w.used[slot/64] &^= 1 << (slot % 64)
}

// ahead returns how many ticks after the cursor the next list that is not empty comes, at
// least 1 and at most a round, or far more than any target if all are empty.
func (w *wheel) ahead() uint32 {
	if w.armed == 0 {
		return 1 << 31
	}
	start := (w.cursor + 1) % wheelSlots
	word := start / 64
	found := w.used[word] &^ (1<<(start%64) - 1)
	for range len(w.used) + 1 {
		if found != 0 {
			slot := word*64 + uint32(bits.TrailingZeros64(found))
			return (slot-start)%wheelSlots + 1
		}
		word = (word + 1) % uint32(len(w.used))
		found = w.used[word]
	}
	return 1 << 31
}

// next returns how long after now the wheel wants to be asked again, at least 0, or false
// if nothing is armed. A timer that was set to a later time may cause one idle call.
func (w *wheel) next(now int64) (time.Duration, bool) {
	if w.armed == 0 {
		return 0, false
	}
	if w.heads[detached] != noTimer {
		return 0, true
	}
	distance := int64(w.ahead()) - int64(w.tick(now)-w.cursor)
	begun := w.base + (now-w.base)/int64(TimerTick)*int64(TimerTick)
	return max(0, time.Duration(begun+distance*int64(TimerTick)-now)), true
}
