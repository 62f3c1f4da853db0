package fakepoll

import "time"

// timerKind says what a timer does when it fires.
type timerKind uint8

const (
	timerTimeout  timerKind = iota // SetTimeout of a connection has passed
	timerWrite                     // no progress of a Send for the write timeout
	timerTransmit                  // the kernel may take more of a Send, or tell of its end
	timerConnect                   // a Connect is decided
	timerAccept                    // the loop may accept (again)
	timerAlarm                     // WakeAt has come
	timerCall                      // World.After
)

// timer is one entry of the world's queue. It lives inside what it belongs to.
type timer struct {
	at   time.Duration // when it fires
	seq  uint64        // order among equals: the order of arming
	pos  int           // place in the heap plus one; 0: not armed
	kind timerKind
	conn *conn  // for the kinds of a connection
	loop *Loop  // for timerAccept and timerAlarm
	call func() // for timerCall
}

// timerHeap is a binary heap of armed timers, earliest first.
type timerHeap struct {
	list []*timer
	seq  uint64
}

func (h *timerHeap) arm(t *timer, at time.Duration) {
	h.seq++
	t.at, t.seq = at, h.seq
	if t.pos == 0 {
		h.list = append(h.list, t)
		t.pos = len(h.list)
	}
	h.down(h.up(t.pos - 1))
}

func (h *timerHeap) stop(t *timer) {
	if t.pos == 0 {
		return
	}
	i, last := t.pos-1, len(h.list)-1
	h.swap(i, last)
	h.list[last] = nil
	h.list = h.list[:last]
	t.pos = 0
	if i < last {
		h.down(h.up(i))
	}
}

// first is the timer that fires next, or nil.
func (h *timerHeap) first() *timer {
	if len(h.list) == 0 {
		return nil
	}
	return h.list[0]
}

func (h *timerHeap) less(i, j int) bool {
	a, b := h.list[i], h.list[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

func (h *timerHeap) swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	h.list[i].pos, h.list[j].pos = i+1, j+1
}

func (h *timerHeap) up(i int) int {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(i, parent) {
			break
		}
		h.swap(i, parent)
		i = parent
	}
	return i
}

func (h *timerHeap) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h.list); child++ {
			if h.less(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}
