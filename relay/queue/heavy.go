package queue

// heavy is the sender that has most in a queue. When there is no room it is this one's oldest frame
// that goes, so that a flood is its sender's loss and not that of whoever else writes to the same
// destination. Senders are told apart by a part of their number: two that share it are one.
type heavy struct {
	group uint8
	left  uint8 // frames to take of this group before the groups are weighed again
}

// bring moves the oldest frame of the heaviest group to the head of f, which is not empty. The
// order of all others, and that of each sender, stays.
func (h *heavy) bring(f *fifo) {
	if h.left == 0 {
		h.weigh(f)
		h.left = heavyFrames
	}
	h.left--
	if !f.bring(h.group) {
		h.weigh(f)
		f.bring(h.group)
	}
}

// weigh finds the group that has most bytes in f.
func (h *heavy) weigh(f *fifo) {
	var bytes [senderGroups]int
	for c := f.head; c != nil; c = c.next {
		for i := c.first; i < c.end; i++ {
			bytes[group(c.frames[i].From)] += len(c.frames[i].Data)
		}
	}
	for g, n := range bytes {
		if n > bytes[h.group] {
			h.group = uint8(g)
		}
	}
}

func group(from uint32) uint8 { return uint8(from % senderGroups) }

// bring moves the first frame of a group to the head: false if there is none.
func (f *fifo) bring(g uint8) bool {
	for c := f.head; c != nil; c = c.next {
		for i := c.first; i < c.end; i++ {
			if group(c.frames[i].From) == g {
				f.lift(c, i)
				return true
			}
		}
	}
	return false
}

// lift moves frame i of chunk c to the head, and those before it one place back.
func (f *fifo) lift(to *chunk, i uint8) {
	lifted, before := to.frames[i], Frame{}
	for c := f.head; ; c = c.next {
		end := c.end
		if c == to {
			end = i + 1
		}
		for j := c.first; j < end; j++ {
			before, c.frames[j] = c.frames[j], before
		}
		if c == to {
			break
		}
	}
	f.head.frames[f.head.first] = lifted
}
