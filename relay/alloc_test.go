package relay

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"derpd/netpoll"
	"derpd/relay/derp"
)

// packetBytes is a full WireGuard packet of an MTU of 1280 with some room.
const packetBytes = 1400

func testPacket(n int) []byte { return bytes.Repeat([]byte{byte(n) | 1}, packetBytes) }

// turns of frames are prepared ahead, since the client's sealing must not be measured.
// Each run of a measurement has several turns: AllocsPerRun rounds down.
const turnsPerRun = 8

// allocScene is one way of a frame through the relay.
type allocScene struct {
	name   string
	loops  int
	pieces func(c *doubleClient, frame []byte) [][]byte // what the sender puts on the wire
	// turn gives one turn's input and lets it through to the destination.
	turn func(from, to *doubleClient, pieces [][]byte)
}

func oneRecord(c *doubleClient, frame []byte) [][]byte { return [][]byte{c.seal(frame)} }

func sameLoop(from, _ *doubleClient, pieces [][]byte) {
	for _, p := range pieces {
		from.d.l.Received(from.h, p)
	}
	from.d.l.Flush()
}

var allocScenes = []allocScene{
	{"one loop", 1, oneRecord, sameLoop},
	{"two loops", 2, oneRecord, func(from, to *doubleClient, pieces [][]byte) {
		sameLoop(from, to, pieces)
		if !to.d.woken {
			panic("the loop of the destination was not woken")
		}
		to.d.begin()
		to.d.end()
	}},
	{"frame in two records", 1, func(c *doubleClient, f []byte) [][]byte {
		return [][]byte{c.seal(f[:700]), c.seal(f[700:])}
	}, sameLoop},
	{"record in two turns", 1, func(c *doubleClient, f []byte) [][]byte {
		rec := c.seal(f)
		return [][]byte{rec[:3:3], rec[3:900:900], rec[900:]}
	}, func(from, to *doubleClient, pieces [][]byte) {
		for i := range pieces {
			sameLoop(from, to, pieces[i:i+1])
		}
	}},
	{"sixteen frames", 1, func(c *doubleClient, f []byte) (out [][]byte) {
		for range 16 {
			out = append(out, c.seal(f))
		}
		return out
	}, sameLoop},
	{"blocked destination", 1, func(c *doubleClient, f []byte) [][]byte {
		return [][]byte{c.seal(f), c.seal(f), c.seal(f)}
	}, func(from, to *doubleClient, pieces [][]byte) {
		to.d.slots[to.h.Slot()].blocked = true
		for i := range pieces { // the first is held by Send, the others wait in the queue
			sameLoop(from, to, pieces[i:i+1])
		}
		to.d.unblock(to.h)
		to.d.l.Flush()
	}},
}

// TestForwardDoesNotAllocate: a frame, after its pair's first, allocates nothing between
// Received and the Send at its destination.
func TestForwardDoesNotAllocate(t *testing.T) {
	for _, sc := range allocScenes {
		for _, way := range []struct{ secure, crowded bool }{{}, {true, false}, {true, true}} {
			name := fmt.Sprintf("%s/tls=%v/crowded=%v", sc.name, way.secure, way.crowded)
			t.Run(name, func(t *testing.T) {
				secure := way.secure
				_, ds, _ := newDoubles(t, sc.loops, Config{})
				for _, d := range ds {
					if way.crowded {
						d.l.crowdMin = 0
					}
				}
				from, to := ds[0].login(t, 1, secure), ds[sc.loops-1].login(t, 2, secure)
				frame := derp.AppendSendPacket(nil, to.key, testPacket(3))

				const runs = 50
				var turns [][][]byte
				for range (runs + 2) * turnsPerRun { // AllocsPerRun has a run of its own before
					turns = append(turns, sc.pieces(from, frame))
				}
				wire := bytes.Join(turns[0], nil) // how many frames a turn has
				perTurn := (len(wire) + len(frame) - 1) / len(frame)
				if secure {
					perTurn = len(wire) / len(frame)
				}
				next := func() {
					for range turnsPerRun {
						sc.turn(from, to, turns[0])
						turns = turns[1:]
					}
				}
				to.d.keep = true
				next() // the first of the pair
				want := bytes.Repeat(derp.AppendRecvPacket(nil, from.key, testPacket(3)),
					perTurn*turnsPerRun)
				if got := to.open(t, to.d.take()); !bytes.Equal(got, want) {
					t.Fatalf("delivered %d bytes, want %d", len(got), len(want))
				}
				to.d.keep = false
				before := to.d.counted().PacketsSent
				if n := testing.AllocsPerRun(runs, next); n != 0 {
					t.Errorf("%v allocations in %d turns", n, turnsPerRun)
				}
				sent := to.d.counted().PacketsSent - before
				if want := uint64((runs + 1) * turnsPerRun * perTurn); sent != want {
					t.Errorf("%d packets sent while measuring, want %d", sent, want)
				}
			})
		}
	}
}

// TestFirstFrameAllocates shows that the measurement can fail: the first frame to each of
// many destinations grows the sender's set.
func TestFirstFrameAllocates(t *testing.T) {
	_, ds, _ := newDoubles(t, 1, Config{})
	from := ds[0].login(t, 0, false)
	var frames [][]byte
	for n := range 400 {
		to := ds[0].login(t, n+1, false)
		frames = append(frames, derp.AppendSendPacket(nil, to.key, testPacket(n)))
	}
	batches := [][][]byte{frames[:10], frames[10:]} // the first is AllocsPerRun's own
	if n := testing.AllocsPerRun(1, func() {
		for _, f := range batches[0] {
			sameLoop(from, nil, [][]byte{f})
		}
		batches = batches[1:]
	}); n == 0 {
		t.Error("first frames to 390 destinations did not allocate: is anything measured?")
	}
}

// BenchmarkForward: one op is one packet of 1.4 KB from Received to Send. Of many pairs each has
// its turn before one has the next, so that nothing of it is in the processor's caches any more.
func BenchmarkForward(b *testing.B) {
	for _, sc := range []struct{ pairs, frames int }{{1, 1}, {1, 16}, {1000, 1}, {1000, 16}} {
		for _, secure := range []bool{true, false} {
			name := "plain"
			if secure {
				name = "tls"
			}
			b.Run(fmt.Sprintf("%s/pairs=%d/%d", name, sc.pairs, sc.frames), func(b *testing.B) {
				benchForward(b, secure, sc.pairs, sc.frames)
			})
		}
	}
}

func benchForward(b *testing.B, secure bool, pairs, frames int) {
	_, ds, _ := newDoubles(b, 1, Config{})
	d := ds[0]
	senders := make([]*doubleClient, pairs)
	sent := make([][]byte, pairs) // the frame of each
	for i := range senders {
		senders[i] = d.login(b, 2*i, secure)
		to := d.login(b, 2*i+1, secure)
		sent[i] = derp.AppendSendPacket(nil, to.key, testPacket(i))
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(pairs, func(i, j int) { // not as they lie in memory
		senders[i], senders[j] = senders[j], senders[i]
		sent[i], sent[j] = sent[j], sent[i]
	})
	const batch = 1024 // packets sealed ahead, outside of the measured time
	arena := make([]byte, 0, batch*(len(sent[0])+64))
	records := make([]arrival, batch)
	b.SetBytes(packetBytes)
	b.ReportAllocs()
	for done := 0; done < b.N; done += batch {
		b.StopTimer()
		arena = arena[:0]
		for i := range records {
			start, from := len(arena), (done+i)%pairs
			if secure {
				s := senders[from].tls
				arena = append(s.SealStart(arena), sent[from]...)
				arena = s.SealFinish(arena, start)
			} else {
				arena = append(arena, sent[from]...)
			}
			records[i] = arrival{senders[from].h, arena[start:len(arena):len(arena)]}
		}
		b.StartTimer()
		benchTurns(d, records[:min(batch, b.N-done)], frames)
	}
	if got := d.counted().PacketsSent; got != uint64(b.N) {
		b.Fatalf("%d packets sent of %d", got, b.N)
	}
}

// arrival is what a loop tells with one Received.
type arrival struct {
	h netpoll.Handle
	b []byte
}

func benchTurns(d *loopDouble, records []arrival, perTurn int) {
	for len(records) > 0 {
		n := min(perTurn, len(records))
		d.now += 1000
		for _, r := range records[:n] {
			d.l.Received(r.h, r.b)
		}
		d.l.Flush()
		records = records[n:]
	}
}
