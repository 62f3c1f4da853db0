package netpoll

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What Send has said to be taken leaves after Close, however slow the peer, and only then is
// Closed told.
func TestCloseLeavesWhatWasTaken(t *testing.T) {
	eachURing(t, func(t *testing.T, sh shape) {
		p := &probe{}
		taken := make(chan int, 1)
		gave, closed := make(chan error, 1), make(chan error, 1)
		p.sent = func(_ Handle, b []byte, n int, err error) {
			if n != 0 {
				t.Errorf("Sent %d bytes of a buffer that was behind another", n)
			}
			gave <- err
		}
		p.closed = func(_ Handle, err error) { closed <- err }
		total := 0
		var fill func(h Handle)
		fill = func(h Handle) { // a chunk a turn, until the peer holds one up
			if p.loop.Send(h, make([]byte, sendCopyMax)) {
				total += sendCopyMax
				p.loop.Post(func() { fill(h) })
				return
			}
			p.loop.Close(h)
			taken <- total
		}
		p.accepted = func(h Handle, _ int, _ netip.AddrPort) { fill(h) }
		_, addr := shaped(t, p, Config{}, sh)
		startLoop(t, p)
		conn := dial(t, addr)
		want := within(t, taken)
		if len(closed) > 0 {
			t.Error("Closed before the peer has taken all")
		}
		got, err := io.ReadAll(conn)
		if len(got) != want || err != nil {
			t.Errorf("the peer got %d bytes of %d, %v", len(got), want, err)
		}
		if err := within(t, gave); err != ErrClosed {
			t.Errorf("Sent: %v", err)
		}
		if err := within(t, closed); err != nil {
			t.Errorf("Closed: %v", err)
		}
	})
}

// Reset does not wait for anything.
func TestResetDropsWhatWasTaken(t *testing.T) {
	p := &probe{}
	closed := make(chan error, 1)
	p.closed = func(_ Handle, err error) { closed <- err }
	var fill func(h Handle)
	fill = func(h Handle) {
		if p.loop.Send(h, make([]byte, sendCopyMax)) {
			p.loop.Post(func() { fill(h) })
			return
		}
		p.loop.Reset(h)
	}
	handles := make(chan Handle, 1)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) { handles <- h }
	l, addr := shaped(t, p, Config{}, whole(t))
	startLoop(t, p)
	conn := dial(t, addr)
	h := within(t, handles)
	begin := time.Now()
	onLoop(t, l, func() { fill(h) })
	if err := within(t, closed); err != nil {
		t.Errorf("Closed: %v", err)
	}
	if took := time.Since(begin); took > leaveMax/2 {
		t.Errorf("Closed after %v", took)
	}
	if _, err := io.ReadAll(conn); err == nil {
		t.Error("the peer reads to an ordinary end")
	}
}

// Bytes that came while their connection was paused stay as they are, however much else is
// received before it resumes.
func TestHeldBytesStay(t *testing.T) {
	p := &probe{}
	var paused Handle
	first, held := make(chan bool, 1), make(chan []byte, 10)
	p.received = func(h Handle, b []byte) {
		switch {
		case string(b) == "pause":
			paused = h
			p.loop.PauseReceive(h)
			first <- true
		case h == paused:
			held <- bytes.Clone(b)
		}
	}
	l, addr := shaped(t, p, Config{}, whole(t))
	startLoop(t, p)
	conn, other := dial(t, addr), dial(t, addr)
	mustWrite(t, conn, "pause")
	within(t, first)
	want := bytes.Repeat([]byte("held"), 1000)
	mustWrite(t, conn, string(want))
	for got := 0; got < 2000; { // until the kernel's receive has brought them
		onLoop(t, l, func() {
			if h := l.held[int32(paused.Slot())]; h != nil {
				got = len(h.b)
			}
		})
	}
	for i := 0; i < 20; i++ { // several times around the buffers
		mustWrite(t, other, string(bytes.Repeat([]byte{'x'}, 64<<10)))
	}
	for before := uint64(0); before < 20*64<<10; {
		onLoop(t, l, func() { before = l.Stats().ReceiveBytes })
	}
	onLoop(t, l, func() { l.ResumeReceive(paused) })
	var got []byte
	for len(got) < len(want) {
		got = append(got, within(t, held)...)
	}
	if !bytes.Equal(got, want) {
		t.Error("held bytes have changed")
	}
}

// A loop that sleeps on its first ring is woken by what happens on the others.
func TestOtherRingsWake(t *testing.T) {
	e := newEcho()
	sh := whole(t)
	sh.files = acceptsInFlight
	handles := make(chan Handle, 1)
	inner := e.accepted
	e.accepted = func(h Handle, i int, r netip.AddrPort) { inner(h, i, r); handles <- h }
	l, addr := shaped(t, &e.probe, Config{}, sh)
	startLoop(t, &e.probe)
	// Fill the first table. Its accepts may be overtaken by those on the next ring.
	conn, slot := dial(t, addr), 0
	for slot = within(t, handles).Slot(); slot < sh.files; slot = within(t, handles).Slot() {
		conn = dial(t, addr)
	}
	onLoop(t, l, func() { l.parkAt = math.MaxInt64 / 2 }) // no timer is to wake it
	for range 20 {
		mustSleep(t, l)
		mustWrite(t, conn, "ping")
		mustRead(t, conn, "ping")
	}
}

// Other rings that never let a loop sleep do not keep it from asking the first one to receive.
func TestOtherRingsDoNotStarveTheFirst(t *testing.T) {
	p := &probe{}
	l, _ := shaped(t, p, Config{}, whole(t))
	startLoop(t, p)
	ready, err := unix.Eventfd(1, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	onLoop(t, l, func() {
		defer unix.Close(ready)
		if err := l.grow(); err != nil {
			t.Errorf("a second ring: %v", err)
			return
		}
		l.submit(true)
		l.dispatch()
		first, second := l.banks[0].ring, l.banks[1].ring
		second.Watch(ready, userData(kindNone, 0, 0))
		l.submit(true) // from now on its completion is there
		if first.Ready() || !second.Ready() {
			t.Errorf("completions: %v on the first ring, %v on the second", first.Ready(),
				second.Ready())
		}
		first.Watch(ready, userData(kindNone, 0, 0)) // stands for a receive
		turns := 0
		for ; first.Pending() > 0 && turns < 100; turns++ {
			if !l.submit(false) {
				t.Errorf("the loop could sleep")
				return
			}
		}
		if turns != heldTurnsMax+1 {
			t.Errorf("the first ring was asked after %d turns, want %d", turns, heldTurnsMax+1)
		}
	})
}

// A handler that connects again as soon as it hears of a reset gets the file that has just been
// given up, in the same turn.
func TestConnectInClosed(t *testing.T) {
	server := &probe{}
	var pair []Handle // both are reset at once, so that one ends while the other's file is closing
	server.accepted = func(h Handle, _ int, _ netip.AddrPort) {
		if pair = append(pair, h); len(pair) == 2 {
			server.loop.Reset(pair[0])
			server.loop.Reset(pair[1])
			pair = nil
		}
	}
	addr := runLoop(t, server, Config{})
	p := &probe{}
	results := make(chan error, 100)
	slots := map[int]bool{}
	connect := func() {
		h, err := p.loop.Connect(netip.AddrPort{}, addr)
		if err != nil {
			t.Error(err)
		}
		slots[h.Slot()] = true
	}
	ended := 0
	end := func() {
		if ended++; ended%2 == 0 && ended < 60 {
			connect()
			connect()
		}
	}
	p.connected = func(_ Handle, err error) {
		if errors.Is(err, unix.ECONNRESET) { // before the kernel told that it was connected
			err = nil
			end()
		}
		results <- err
	}
	p.closed = func(Handle, error) { end() }
	l, _ := shaped(t, p, Config{}, whole(t))
	startLoop(t, p)
	onLoop(t, l, func() { connect(); connect() })
	for range 60 {
		if err := within(t, results); err != nil {
			t.Fatal(err)
		}
	}
	onLoop(t, l, func() {
		if len(slots) > 3 {
			t.Errorf("%d slots used: the case was not met", len(slots))
		}
	})
}
