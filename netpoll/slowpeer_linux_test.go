package netpoll

import (
	"io"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A peer that takes a little within each write timeout is slow, not dead, however long the
// whole takes, and although epoll tells of large steps only.
func TestWriteTimeoutIsForProgress(t *testing.T) { eachEngine(t, testWriteTimeoutIsForProgress) }

func testWriteTimeoutIsForProgress(t *testing.T) { untilInTime(t, readSlowly) }

// untilInTime repeats a test whose own reader, as it says by false, was kept from reading.
func untilInTime(t *testing.T, test func(t *testing.T) bool) {
	const tries = 5
	for range tries {
		if test(t) {
			return
		}
	}
	t.Fatalf("the reader was kept waiting in each of %d runs: the machine is too busy", tries)
}

// readSlowly reads a piece at a time from a loop whose write timeout is many pieces long. It is
// false, and says nothing of the loop, if the reader itself was kept from reading for so long that
// the loop might rightly have given it up.
func readSlowly(t *testing.T) bool {
	const (
		timeout = 500 * time.Millisecond
		window  = 4 // pieces: what the kernel may let pass before it tells the other side
	)
	sent := make(chan sentEvent, 2)
	p := &probe{}
	p.sent = func(h Handle, b []byte, n int, err error) { sent <- sentEvent{h, b, n, err} }
	b := make([]byte, 4<<20)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) {
		// A third of this takes the peer longer than the timeout.
		withSocket(t, p.loop, h, func(fd int) {
			err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 200<<10)
			if err != nil {
				t.Error(err)
			}
		})
		p.loop.SetWriteTimeout(h, timeout)
		p.loop.Send(h, b)
	}
	reads := []time.Time{time.Now()}
	late := func() bool { return time.Since(reads[max(0, len(reads)-window)]) > timeout*3/4 }
	peer := dialNarrow(t, runLoop(t, p, Config{}), 32<<10)
	piece := make([]byte, 8<<10)
	rest := len(b)
	for i := 0; rest > 0; i++ {
		const slow = 40 // pieces; the rest as fast as it comes
		if i == slow && len(sent) > 0 {
			t.Fatalf("Sent while the peer was taking bytes: %v", (<-sent).err)
		}
		n, err := io.ReadFull(peer, piece)
		if late() {
			return false
		}
		reads = append(reads, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		rest -= n
		if i < slow {
			time.Sleep(timeout / 12) // the slowness under test
		}
		if late() {
			return false
		}
	}
	if e := within(t, sent); e.err != nil || e.n != len(b) {
		t.Errorf("Sent %d of %d, %v", e.n, len(b), e.err)
	}
	return true
}

// TestWriteTimeoutOfShortSends: the kernel takes a short send, which is copied, in parts of which
// nobody is told, and what is not acknowledged may be more then than at first.
func TestWriteTimeoutOfShortSends(t *testing.T) { eachEngine(t, testWriteTimeoutOfShortSends) }

func testWriteTimeoutOfShortSends(t *testing.T) {
	t.Parallel()
	untilInTime(t, readPieces)
}

func readPieces(t *testing.T) (inTime bool) {
	const timeout = time.Second
	closed := make(chan error, 1)
	p := &probe{}
	piece := make([]byte, 30<<10)
	push := func(h Handle) {
		for p.loop.Send(h, piece) {
		}
	}
	p.sent = func(h Handle, _ []byte, _ int, err error) {
		if err == nil {
			push(h)
		}
	}
	p.closed = func(_ Handle, err error) { closed <- err }
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) {
		withSocket(t, p.loop, h, func(fd int) {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 24<<10); err != nil {
				t.Error(err)
			}
		})
		p.loop.SetWriteTimeout(h, timeout)
		push(h)
	}
	peer := dialNarrow(t, runLoop(t, p, Config{}), 8<<10)
	read := make([]byte, 1<<10)
	var longest time.Duration // from read to read
	begin, last := time.Now(), time.Now()
	for time.Since(begin) < 5*timeout {
		_, err := io.ReadFull(peer, read)
		if longest = max(longest, time.Since(last)); longest > timeout/4 {
			return false
		}
		last = time.Now()
		if err != nil {
			t.Fatalf("read for %v: %v", time.Since(begin), err)
		}
		time.Sleep(timeout / 16) // the slowness under test
	}
	given := len(closed) > 0
	if time.Since(last) > timeout/4 {
		return false
	}
	if given {
		t.Errorf("a peer that reads was given up: %v", <-closed)
	}
	return true
}

// TestStepsOfASlowPeer: on a ring a peer may be silent for half as long again as the write timeout,
// as one is whose window opens in large steps.
func TestStepsOfASlowPeer(t *testing.T) {
	eachURing(t, func(t *testing.T, sh shape) {
		t.Parallel()
		untilInTime(t, func(t *testing.T) bool { return readInSteps(t, sh) })
	})
}

func readInSteps(t *testing.T, sh shape) (inTime bool) {
	const timeout, silence = time.Second, 1600 * time.Millisecond
	closed := make(chan error, 1)
	p := &probe{}
	p.closed = func(_ Handle, err error) { closed <- err }
	b := make([]byte, 8<<20)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) {
		p.loop.SetWriteTimeout(h, timeout)
		p.loop.Send(h, b)
	}
	_, addr := shaped(t, p, Config{}, sh)
	startLoop(t, p)
	peer := dialNarrow(t, addr, 256<<10)
	all := make([]byte, 1<<20) // all that is there, so that the window opens
	last := time.Now()
	for n := range 6 {
		_, err := peer.Read(all)
		if time.Since(last) > timeout*17/10 {
			return false
		}
		last = time.Now()
		if err != nil {
			t.Fatalf("step %d: %v", n, err)
		}
		time.Sleep(silence) // the silence under test
	}
	given := len(closed) > 0
	if time.Since(last) > timeout*17/10 {
		return false
	}
	if given {
		t.Errorf("a peer that reads was given up: %v", <-closed)
	}
	return true
}
