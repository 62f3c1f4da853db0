package relay

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"derpd/relay/derp"
	"derpd/relay/ratelimit"
)

// TestNewRateEndsPause: a client that is held back for hours is read again within rateLookEvery
// of a new limit, also when the pause is an old one, and its keepalives come meanwhile.
func TestNewRateEndsPause(t *testing.T) {
	for _, paused := range []time.Duration{10 * time.Millisecond, 3 * time.Minute} {
		t.Run(paused.String(), func(t *testing.T) {
			f := newFakeRelay(t, false, Config{})
			s := f.stream(false)
			s.login(1)
			f.SetRate(ratelimit.New(1, 0)) // a byte a second, and one frame of the longest at once
			const packets = 12
			for range packets {
				s.write(derp.AppendSendPacket(nil, derp.Key{9}, make([]byte, 40_000)))
			}
			f.pass(paused)
			if f.loop.n.RateWaits != 1 || f.loop.n.PacketsReceived[0] > packets/2 {
				t.Fatalf("%d pauses, %d packets", f.loop.n.RateWaits, f.loop.n.PacketsReceived[0])
			}
			if n := f.loop.n.KeepAlives; n != uint64(paused/(keepAliveEvery+keepAliveJitter)) {
				t.Errorf("%d keepalives in %v", n, paused)
			}
			f.SetRate(ratelimit.Limits{})
			f.pass(rateLookEvery + 200*time.Millisecond)
			if n := f.loop.n.PacketsReceived[0]; n != packets {
				t.Errorf("%d packets of %d: the new limit does not apply", n, packets)
			}
		})
	}
}

// TestPauseIsKept: what a client may send in a time is its burst and its rate, what one receive
// holds, and what is taken early; every frame counts by its length without the header, unknown
// ones too. A rate that fills the burst within a timer's tick is reached like a low one.
func TestPauseIsKept(t *testing.T) {
	const frame, seconds = 1000, 20
	frames := map[string][]byte{
		"packets": derp.AppendSendPacket(nil, derp.Key{9}, make([]byte, frame-derp.KeyLen)),
		"unknown": append(derp.AppendHeader(nil, 0x77, frame), make([]byte, frame)...),
	}
	for _, rate := range []uint64{100_000, 5_000_000} {
		for name, b := range frames {
			t.Run(fmt.Sprint(name, " at ", rate), func(t *testing.T) {
				f := newFakeRelay(t, false, Config{})
				s := f.stream(false)
				s.login(1)
				f.SetRate(ratelimit.New(rate, 0))
				batch := bytes.Repeat(b, 2*int(rate)/20/frame) // for a tenth of a second
				for range 2 * 10 * seconds {
					s.write(batch)
				}
				f.pass(seconds * time.Second)
				handled := f.loop.n.PacketsReceived[0] + f.loop.n.UnknownFrames
				least := rate * seconds / frame
				most := least + (2*(derp.MaxPacket+preLoginBytesMax)+rate/20)/frame
				if handled < least || handled > most {
					t.Errorf("%d frames in %d s, want %d to %d", handled, seconds, least, most)
				}
			})
		}
	}
}

// TestTornUnknownFramesCount: a frame of an unknown type is charged also when its header comes
// in pieces.
func TestTornUnknownFramesCount(t *testing.T) {
	s, ds, _ := newDoubles(t, 1, Config{})
	d := ds[0]
	cl := d.login(t, 1, false)
	s.SetRate(ratelimit.New(1, 0)) // a byte a second, and one frame of the longest at once
	const n = 40_000
	frame := append(derp.AppendHeader(nil, 0x77, n), make([]byte, n)...)
	for range 2 {
		for _, piece := range [][]byte{frame[:3], frame[3:derp.HeaderLen], frame[derp.HeaderLen:]} {
			d.l.Received(cl.h, append([]byte(nil), piece...))
			d.l.Flush()
		}
	}
	if got := d.l.n; got.UnknownFrames != 2 || got.RateWaits != 1 || !d.slots[cl.h.Slot()].paused {
		t.Errorf("%d unknown frames, %d pauses", got.UnknownFrames, got.RateWaits)
	}
}
