package relay

import (
	"testing"

	"golang.org/x/sys/unix"

	"derpd/relay/derp"
)

// TestHeldUpSendsAreInTheBudget: what has left a queue for a receiver that does not take it is memory
// as much as what waits there, until it is taken or the connection ends.
func TestHeldUpSendsAreInTheBudget(t *testing.T) {
	const packet = 1400
	for _, ends := range []bool{false, true} {
		_, ds, _ := newDoubles(t, 1, Config{})
		d := ds[0]
		from, to := d.login(t, 1, false), d.login(t, 2, false)
		d.slots[to.h.Slot()].blocked = true
		for range 2 { // of which the first is under way
			d.l.Received(from.h, derp.AppendSendPacket(nil, to.key, make([]byte, packet)))
			d.l.Flush()
		}
		c := d.l.at(to.h)
		if c.out == nil || c.client.q.Len() != 1 {
			t.Fatalf("under way %v, %d wait", c.out, c.client.q.Len())
		}
		if held := d.l.q.Held(); held < 2*packet || held > 4*packet {
			t.Errorf("%d bytes are held, of two packets of %d", held, packet)
		}
		if ends {
			d.l.end(c, EndPeerClosed)
			d.l.Sent(to.h, c.out.Buf, 0, unix.EPIPE)
			d.l.Closed(to.h, unix.EPIPE)
		} else {
			d.unblock(to.h)
			d.l.Flush()
		}
		d.settle()
		if held := d.l.q.Held(); held != 0 {
			t.Errorf("ends %t: %d bytes are still held", ends, held)
		}
	}
}
