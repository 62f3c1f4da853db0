package netpoll

// A receive that waits costs the kernel some 850 bytes, most of them for what it will need when
// something comes; watching for something to come costs 250. Connections that have been silent
// for a while are parked: their receive is cancelled and they are watched instead, until they are
// readable.

// parkStep looks at parkSlots of the table, so often that a whole round takes parkRound.
func (l *URing) parkStep() {
	if l.now < l.parkAt {
		return
	}
	slots := len(l.pages) * connsPerPage // a multiple of parkSlots
	l.parkAt = l.now + int64(parkRound)*parkSlots/int64(slots)
	for range parkSlots {
		l.parkNext = (l.parkNext + 1) % slots
		slot := int32(l.parkNext)
		c := l.at(slot)
		if c.state != open || c.flags&receiving == 0 || c.hold != 0 {
			continue
		}
		if c.flags&(heard|cancelling) == 0 {
			c.flags |= parking
			l.cancelReceive(slot, c)
		}
		c.flags &^= heard
	}
}

// parkDue is when parkStep wants to be called; 0 is never: nothing is left to be parked.
func (l *URing) parkDue() int64 {
	if l.receives == 0 {
		return 0
	}
	return l.parkAt
}

// park has a connection watched in place of the receive that was cancelled for it.
func (l *URing) park(b *bank, slot int32, c *uconn) {
	c.flags = c.flags&^parking | watching
	l.expect(c)
	l.room(b).WatchReadable(int(slot-b.base), userData(kindWatch, slot, c.generation))
}
