package netpoll

import (
	"bytes"
	"io"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"derpd/netpoll/internal/uring"
)

// A copied send that the kernel takes as a whole ends with its submission: without a completion,
// and so without a turn of its own.
func TestTakenSendMakesNoCompletion(t *testing.T) {
	eachURing(t, func(t *testing.T, sh shape) {
		p := &probe{}
		handles := make(chan Handle, 1)
		p.accepted = func(h Handle, _ int, _ netip.AddrPort) { handles <- h }
		p.sent = func(Handle, []byte, int, error) { t.Error("Sent for a send that was taken") }
		_, addr := shaped(t, p, Config{}, sh)
		startLoop(t, p)
		c := dial(t, addr)
		h := within(t, handles)
		onLoop(t, p.loop, func() {
			l := p.loop.(*URing)
			for _, size := range []int{100, 200} { // the second makes the first one longer
				if !l.Send(h, make([]byte, size)) {
					t.Errorf("%d bytes are held up", size)
				}
			}
			slot, conn := l.find(h)
			b, _ := l.bank(slot)
			ops := conn.ops
			l.submit(true)
			if conn.send != 0 || conn.ops != ops-1 || l.stats.SendBytes != 300 {
				t.Errorf("under way: %t, %d requests of %d, %d bytes sent", conn.send != 0,
					conn.ops, ops, l.stats.SendBytes)
			}
			b.ring.Each(func(cqe *uring.CQE) bool {
				if cqe.UserData>>56 == kindSend {
					t.Errorf("completed with %d", cqe.Res)
				}
				return true
			})
		})
		if _, err := io.ReadFull(c, make([]byte, 300)); err != nil {
			t.Error(err)
		}
	})
}

// A send that has a successor has a completion too, from which the successor goes on; one that was
// submitted in the midst of a turn is known to be over when the next one comes.
func TestSendBehindAnother(t *testing.T) {
	eachURing(t, func(t *testing.T, sh shape) {
		p := &probe{}
		handles := make(chan Handle, 1)
		p.accepted = func(h Handle, _ int, _ netip.AddrPort) { handles <- h }
		sent := make(chan sentEvent, 1)
		p.sent = func(h Handle, b []byte, n int, err error) { sent <- sentEvent{h, b, n, err} }
		_, addr := shaped(t, p, Config{}, sh)
		startLoop(t, p)
		c := dial(t, addr)
		h := within(t, handles)
		want := bytes.Repeat([]byte("a"), 100)
		onLoop(t, p.loop, func() {
			l := p.loop.(*URing)
			slot, conn := l.find(h)
			b, _ := l.bank(slot)
			l.Send(h, want)
			b.submit()
			for i, taken := range []bool{true, false} {
				chunk := chunkOf(i, sendCopyMax)
				want = append(want, chunk...)
				if l.Send(h, chunk) != taken {
					t.Errorf("send %d: want taken %t", i, taken)
				}
			}
			if conn.send == 0 || l.sends[conn.send-1].quiet {
				t.Error("what is before another send is quiet")
			}
		})
		if e := within(t, sent); e.n != sendCopyMax || e.err != nil {
			t.Errorf("Sent %d, %v", e.n, e.err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("other bytes came than were sent, or %v", err)
		}
	})
}

// What the kernel does not take at once follows when there is room, in its order, and what was
// handed over meanwhile after it. Of a long send it takes a part, of a short one nothing.
func TestHeldUpSendGoesOn(t *testing.T) {
	eachURing(t, func(t *testing.T, sh shape) {
		for _, size := range []int{1000, sendCopyMax} {
			testHeldUpSendGoesOn(t, sh, size)
		}
	})
}

func testHeldUpSendGoesOn(t *testing.T, sh shape, size int) {
	p := &probe{}
	sent, blocked := make(chan sentEvent, 2), make(chan bool, 1)
	var held, reads bool // a chunk is; the peer does
	var last int
	var fill func(h Handle)
	fill = func(h Handle) { // a chunk a turn, until the peer holds one up
		if held = !p.loop.Send(h, chunkOf(last, size)); held {
			blocked <- true
			return
		}
		last++
		p.loop.Post(func() { fill(h) })
	}
	p.sent = func(h Handle, b []byte, n int, err error) {
		// Where the peer's kernel answers late, ours finds room though nobody reads, until the buffers
		// of both are full.
		if held = false; !reads && last*size < buffersMax {
			last++
			fill(h)
			return
		}
		sent <- sentEvent{h, b, n, err}
	}
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) { fill(h) }
	_, addr := shaped(t, p, Config{}, sh)
	startLoop(t, p)
	c := dialNarrow(t, addr, 64<<10)
	for !reads {
		within(t, blocked)
		onLoop(t, p.loop, func() { reads = held })
	}
	if last*size >= buffersMax {
		t.Errorf("chunks of %d: Sent for %d bytes, and the peer has read nothing", size, last*size)
	}
	got := make([]byte, size)
	for i := range last + 1 {
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, chunkOf(i, size)) {
			t.Fatalf("chunk %d of %d of %d: other bytes came, or %v", i, last, size, err)
		}
	}
	if e := within(t, sent); e.n != len(e.b) || e.n != size || e.err != nil {
		t.Errorf("Sent %d of %d, %v", e.n, len(e.b), e.err)
	}
	onLoop(t, p.loop, func() {
		if s := p.loop.Stats(); s.SendBlocked == 0 || s.SendBytes != uint64((last+1)*size) {
			t.Errorf("after %d chunks of %d: stats %+v", last+1, size, s)
		}
	})
}

// chunkOf are bytes that tell which chunk they are of.
func chunkOf(i, size int) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8)}, size/2) }

// buffersMax is more than the kernel keeps for a connection whose peer reads nothing, bytes.
const buffersMax = 32 << 20

// noLock is a value of SO_BUF_LOCK, where the kernel finds it.
var noLock [4]byte

// More sends are held up at once than the queue of completions has room for. None of them is
// mistaken for one that was taken because its completion is late, and one whose connection is closed
// meanwhile leaves, whether or not another is behind it.
func TestMoreHeldUpThanCompletions(t *testing.T) {
	for _, another := range []bool{false, true} {
		testMoreHeldUpThanCompletions(t, another)
	}
}

func testMoreHeldUpThanCompletions(t *testing.T, another bool) {
	const conns = 12
	const late = 8 // the completion of whose send does not find room
	sh := whole(t)
	sh.entries, sh.completions = 4, 8
	p := &probe{}
	p.sent = func(_ Handle, _ []byte, n int, err error) {
		if n != 0 || err != ErrClosed {
			t.Errorf("Sent %d, %v", n, err)
		}
	}
	l, peers, hs := full(t, p, sh, conns)
	onLoop(t, p.loop, func() {
		// Three completions for each queue of four requests, so that their own queue is not just full
		// when one ends.
		for i, h := range hs {
			if !l.Send(h, chunkOf(i, sendCopyMax)) {
				t.Errorf("send %d is known to be held up before it was submitted", i)
			}
			if i == late && another && l.Send(h, chunkOf(i, sendCopyMax)) {
				t.Error("a second copy of the largest size is taken")
			}
			if i%3 == 2 {
				b, file := l.bank(int32(h.Slot()))
				l.room(b).SetOption(file, unix.SOL_SOCKET, unix.SO_BUF_LOCK, noLock[:], kindNone)
			}
		}
		if !l.banks[0].ring.Overflowed() {
			t.Error("there was room for all completions")
		}
		l.Close(hs[late]) // for which it has to be found out what became of the send
	})
	for i, peer := range peers {
		mustReadChunk(t, peer, i)
	}
	mustEnd(t, peers[late])
	// A peer may have read what the loop has not been told yet that the kernel took.
	var stats Stats
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		onLoop(t, p.loop, func() { stats = l.Stats() })
		if stats.SendBytes >= conns*sendCopyMax {
			break
		}
	}
	if stats.SendBlocked != conns || stats.SendBytes != conns*sendCopyMax {
		t.Errorf("another behind it %t: stats %+v", another, stats)
	}
}

// full makes connections of which the kernel takes a part of the longest copy only.
func full(t *testing.T, p *probe, sh shape, conns int) (*URing, []io.Reader, []Handle) {
	t.Helper()
	const buffer = 4 << 10
	handles := make(chan Handle, conns)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) {
		withSocket(t, p.loop, h, func(fd int) {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, buffer); err != nil {
				t.Error(err)
			}
		})
		handles <- h
	}
	l, addr := shaped(t, p, Config{}, sh)
	startLoop(t, p)
	peers, hs := make([]io.Reader, conns), make([]Handle, conns)
	for i := range conns {
		peers[i] = dialNarrow(t, addr, buffer)
		hs[i] = within(t, handles)
	}
	return l, peers, hs
}

func mustReadChunk(t *testing.T, peer io.Reader, i int) {
	t.Helper()
	got := make([]byte, sendCopyMax)
	if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, chunkOf(i, len(got))) {
		t.Errorf("connection %d: other bytes came, or %v", i, err)
	}
}

func mustEnd(t *testing.T, peer io.Reader) {
	t.Helper()
	if n, err := peer.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the last bytes of a closed connection: %d more, %v", n, err)
	}
}

// A send that was taken leaves after Close also if another was behind it, and whether or not the
// kernel has tried it already.
func TestCloseBehindAnother(t *testing.T) {
	for name, submits := range map[string]bool{"not tried": false, "tried": true} {
		eachURing(t, func(t *testing.T, sh shape) {
			p := &probe{}
			sent := make(chan error, 1)
			p.sent = func(_ Handle, _ []byte, _ int, err error) { sent <- err }
			l, peers, hs := full(t, p, sh, 1)
			onLoop(t, l, func() {
				if !l.Send(hs[0], chunkOf(0, sendCopyMax)) || l.Send(hs[0], chunkOf(1, sendCopyMax)) {
					t.Errorf("%s: the first was not taken, or the second was", name)
				}
				if submits {
					b, _ := l.bank(int32(hs[0].Slot()))
					b.submit()
				}
				l.Close(hs[0])
			})
			mustReadChunk(t, peers[0], 0)
			mustEnd(t, peers[0])
			if err := within(t, sent); err != ErrClosed {
				t.Errorf("%s: Sent: %v", name, err)
			}
		})
	}
}

// A send that fails ends its connection once, also when its completion is there before anybody has
// looked what became of it, and when the connection is closed meanwhile.
func TestQuietSendFails(t *testing.T) {
	for name, closes := range map[string]bool{"left alone": false, "closed": true} {
		eachURing(t, func(t *testing.T, sh shape) {
			p := &probe{}
			handles, closed := make(chan Handle, 1), make(chan error, 1)
			p.accepted = func(h Handle, _ int, _ netip.AddrPort) { handles <- h }
			p.closed = func(_ Handle, err error) { closed <- err }
			l, addr := shaped(t, p, Config{}, sh)
			startLoop(t, p)
			dial(t, addr)
			h := within(t, handles)
			receives := 0
			onLoop(t, l, func() {
				slot, _ := l.find(h)
				receives = l.receives
				b, _ := l.bank(slot)
				withSocket(t, l, h, func(fd int) {
					if err := unix.Shutdown(fd, unix.SHUT_WR); err != nil {
						t.Error(err)
					}
				})
				l.Send(h, []byte("of which nothing is taken"))
				b.submit()
				if closes {
					l.Close(h)
				}
			})
			want := error(unix.EPIPE)
			if closes {
				want = nil
			}
			if err := within(t, closed); err != want {
				t.Errorf("%s: Closed with %v, want %v", name, err, want)
			}
			onLoop(t, l, func() {
				sum := 0
				l.eachSlot(func(_ int32, c *uconn) { sum += int(c.ops) })
				if l.ops != sum || l.receives != receives-1 {
					t.Errorf("%s: %d requests of connections, which have %d; %d receives, one less than %d",
						name, l.ops, sum, l.receives, receives)
				}
				if l.wheel.armed != 0 {
					t.Errorf("%s: %d timers without a connection", name, l.wheel.armed)
				}
			})
		})
	}
}
