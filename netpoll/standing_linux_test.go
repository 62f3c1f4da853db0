package netpoll

import (
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestStanding(t *testing.T) {
	const more, empty = true, false
	type receive struct {
		ms   int64
		more bool
		want bufferChange
	}
	for name, receives := range map[string][]receive{
		"never":    {{0, empty, bufferStays}, {5000, empty, bufferStays}, {9000, more, bufferStays}},
		"a burst":  {{0, more, bufferStays}, {7, more, bufferStays}, {9, empty, bufferStays}, {20, more, bufferStays}},
		"for long": {{0, more, bufferStays}, {14, more, bufferKept}, {15, more, bufferStays}, {9000, more, bufferStays}},
		"over": {{0, more, bufferStays}, {14, more, bufferKept}, {15, empty, bufferStays},
			{900, empty, bufferStays}, {1100, empty, bufferFreed}, {1200, empty, bufferStays}},
		"over with a burst": {{0, more, bufferStays}, {14, more, bufferKept}, {1100, empty, bufferFreed},
			{1101, more, bufferStays}, {1120, more, bufferKept}},
		"at its limit": {{0, more, bufferStays}, {14, more, bufferKept}, {15, empty, bufferStays},
			{800, more, bufferStays}, {815, more, bufferStays}, {816, empty, bufferStays},
			{1600, empty, bufferStays}, {1900, empty, bufferFreed}},
		"not received from": {{0, more, bufferStays}, {5000, empty, bufferStays}, {5001, more, bufferStays},
			{6000, more, bufferKept}},
		"around the minute": {{68_710, more, bufferStays}, {68_715, more, bufferStays},
			{68_730, more, bufferKept}, {68_740, empty, bufferStays}, {69_900, empty, bufferFreed}},
	} {
		var s standing
		for i, r := range receives {
			if got := s.received(r.more, r.ms<<20); got != r.want {
				t.Errorf("%s: receive %d, at %d ms, gives %d, want %d", name, i, r.ms, got, r.want)
			}
		}
	}
}

// A peer that is faster than its handler finds the receive buffer kept at its size, until the queue
// has been emptied.
func TestBufferOfAStandingQueueIsKept(t *testing.T) {
	eachEngine(t, testBufferOfAStandingQueueIsKept)
}

func testBufferOfAStandingQueueIsKept(t *testing.T) {
	p := &probe{}
	kept, freed := make(chan Handle, 1), make(chan Handle, 1)
	is := func(h Handle) bool {
		switch l := p.loop.(type) {
		case *Epoll:
			return l.at(int32(h.Slot())).standing.kept()
		case *URing:
			return l.at(int32(h.Slot())).standing.kept()
		}
		panic("another kind of loop")
	}
	was := false
	p.received = func(h Handle, b []byte) {
		switch now := is(h); {
		case now && !was:
			was = true
			p.loop.PauseReceive(h)
			kept <- h
		case !now && was:
			was = false
			freed <- h
		case !now:
			time.Sleep(200 * time.Microsecond) // the slowness under test
		}
	}
	addr := runLoop(t, p, Config{ReceiveBytes: 4 << 10, ArenaBytes: 8 << 10})
	peer := dial(t, addr)
	var enough atomic.Bool
	ended := make(chan error, 1)
	go func() {
		piece := make([]byte, 16<<10)
		for !enough.Load() {
			if _, err := peer.Write(piece); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	h := within(t, kept)
	enough.Store(true)
	lock := func() (value int) {
		onLoop(t, p.loop, func() {
			withSocket(t, p.loop, h, func(fd int) {
				var err error
				if value, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK); err != nil {
					t.Error(err)
				}
			})
		})
		return value
	}
	if got := lock(); got != sockReceiveBufferLock {
		t.Errorf("SO_BUF_LOCK is %d while the queue stands, want %d", got, sockReceiveBufferLock)
	}
	onLoop(t, p.loop, func() { p.loop.ResumeReceive(h) })
	if err := within(t, ended); err != nil {
		t.Fatal(err)
	}
	for done := false; !done; {
		mustWrite(t, peer, "a byte now and then, of which each is all there is")
		select {
		case <-freed:
			done = true
		case <-time.After(standingOver << 20 / 10):
		}
	}
	if got := lock(); got != 0 {
		t.Errorf("SO_BUF_LOCK is %d when the queue was empty, want 0", got)
	}
}
