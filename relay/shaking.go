package relay

import "time"

const (
	// stalledAfter is how long a peer may leave us waiting in a handshake before its place is
	// another's, if there is none left: several round trips of a long path. With the default of
	// 4096 places, who keeps all of them taken must send as many hellos a second as compute.
	stalledAfter = time.Second

	// stalledLook is how many of the oldest handshakes are looked at for one that waits for its
	// peer and not for us.
	stalledLook = 16
)

// shaking lists the handshakes of a loop that peers have begun, the oldest first.
type shaking struct{ first, last *handshake }

func (s *shaking) push(hs *handshake) {
	hs.prev = s.last
	if s.last == nil {
		s.first = hs
	} else {
		s.last.next = hs
	}
	s.last = hs
}

func (s *shaking) remove(hs *handshake) {
	if hs.prev == nil {
		s.first = hs.next
	} else {
		hs.prev.next = hs.next
	}
	if hs.next == nil {
		s.last = hs.prev
	} else {
		hs.next.prev = hs.prev
	}
	hs.prev, hs.next = nil, nil
}

// dropStalled ends the oldest handshake whose peer has left us waiting, and frees its place. It
// tells whether there was one: strangers who begin handshakes and fall silent must not keep
// everyone else out.
func (l *loop) dropStalled() bool {
	now := l.poll.Now()
	looked := 0
	for hs := l.shaking.first; hs != nil && looked < stalledLook; hs = hs.next {
		if now-hs.since < l.stalled {
			return false
		}
		looked++
		if hs.idle() {
			l.end(l.at(hs.h), EndHandshakeCap)
			return true
		}
	}
	return false
}
