package queue

// heavy is the sender that has most in a queue. When there is no room it is this one's oldest frame
// that goes, so that a flood is its sender's loss and not that of whoever else writes to the same
// destination. Senders are told apart by a part of their number: two that share it are one.
type heavy struct {
	group uint8
	left  uint16 // frames to take of this group before the groups are weighed again
}

// bringHeavy moves the oldest data frame of the heaviest group to the head of the queue, which is
// not empty. The order of all others, and that of each sender, stays.
func (q *lines) bringHeavy() {
	if q.notice.count > noticesReach {
		return
	}
	h := &q.heavy
	if h.left == 0 {
		h.weigh(&q.data)
		h.left = uint16(max(heavyFrames, q.data.count/heavyPart))
	}
	h.left--
	if at := q.data.bring(h.group); at > 0 && q.notice.count > 0 {
		q.postpone(q.data.popped + uint64(at))
	}
}

// postpone has notices that do not wait for the frame of that number wait for one more, because it
// is going to leave ahead of its turn.
func (q *lines) postpone(number uint64) {
	for c := q.notice.head; c != nil; c = c.next {
		for i := c.first; i < c.end; i++ {
			if c.frames[i].At <= int64(number) {
				c.frames[i].At++
			}
		}
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

// bring moves the first frame of a group to the head, if it is one of the first heavyReach, and
// says how far behind it was.
func (f *fifo) bring(g uint8) (at int) {
	for c := f.head; c != nil && at < heavyReach; c = c.next {
		for i := c.first; i < c.end; i++ {
			if group(c.frames[i].From) == g {
				f.lift(c, i)
				return at
			}
			at++
		}
	}
	return 0
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
