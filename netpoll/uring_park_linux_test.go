package netpoll

import (
	"net/netip"
	"testing"
)

// A connection that is paused while it is being parked, or parked while it is paused, is watched
// once: a second watch with the same name would never be cancelled, and hold its file.
func TestParkingAndPausing(t *testing.T) {
	eachURing(t, func(t *testing.T, sh shape) {
		for _, pauseFirst := range []bool{true, false} {
			e := newEcho()
			handles, closed := make(chan Handle, 1), make(chan error, 1)
			inner, gone := e.accepted, e.closed
			e.accepted = func(h Handle, i int, r netip.AddrPort) { inner(h, i, r); handles <- h }
			e.closed = func(h Handle, err error) { gone(h, err); closed <- err }
			l, addr := shaped(t, &e.probe, Config{}, sh)
			startLoop(t, &e.probe)
			conn := dial(t, addr)
			h := within(t, handles)
			mustWrite(t, conn, "before")
			mustRead(t, conn, "before")
			onLoop(t, l, func() {
				if pauseFirst {
					l.PauseReceive(h)
				}
				for range 2 * len(l.pages) * connsPerPage / parkSlots {
					l.parkAt = 0
					l.parkStep()
				}
				l.PauseReceive(h)
			})
			turns := func() {
				for range 3 {
					onLoop(t, l, func() {})
				}
			}
			turns() // what was cancelled comes back
			onLoop(t, l, func() { l.ResumeReceive(h) })
			turns()
			onLoop(t, l, func() { l.Close(h) })
			within(t, closed)
		}
	})
}
