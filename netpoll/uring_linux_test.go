package netpoll

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"derpd/netpoll/internal/uring"
)

// shaped makes a loop on io_uring of that shape, with a listener; it is not running.
func shaped(t *testing.T, p *probe, cfg Config, sh shape) (*URing, netip.AddrPort) {
	t.Helper()
	if err := ProbeURing(); err != nil {
		t.Skip(err)
	}
	cfg.Listeners = mustListen(t, "127.0.0.1:0", 1, ListenOptions{})
	if err := cfg.complete(3); err != nil {
		t.Fatal(err)
	}
	l, err := newURing(3, cfg, sh)
	if err != nil {
		t.Fatal(err)
	}
	p.t, p.loop, p.known = t, l, map[Handle]bool{}
	return l, cfg.Listeners[0].Addr()
}

// whole is the shape that this machine would have, with few files and buffers.
func whole(t *testing.T) shape {
	t.Helper()
	features, err := uring.Probe()
	if err != nil {
		t.Skip(err)
	}
	return shape{entries: 64, completions: 128, files: 200, buffers: 4, bufferBytes: 64 << 10,
		features: features}
}

// A hundred thousand idle connections are what the machine pays for.
func TestURingConnSize(t *testing.T) {
	size := unsafe.Sizeof(uconn{}) + timersPerConn*unsafe.Sizeof(timer{})
	if size > 64 {
		t.Errorf("a connection and its timers take %d bytes, want at most 64", size)
	}
}

const envMany = "NETPOLL_TEST_MANY"

// One loop holds far more connections than the process may have descriptors. The process with
// the loop is a child with a low limit; the connections are its parent's.
func TestMoreConnectionsThanDescriptors(t *testing.T) {
	const limit, conns = 256, 2000
	if os.Getenv(envMany) != "" {
		serveMany(t, conns)
		return
	}
	if err := ProbeURing(); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestMoreConnectionsThanDescriptors$",
		"-test.timeout=60s")
	cmd.Env = append(os.Environ(), envMany+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 32)
	n, _ := out.Read(line)
	addr, err := netip.ParseAddrPort(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	all := make([]*net.TCPConn, conns)
	for i := range all {
		all[i] = dial(t, addr)
	}
	number := make([]byte, 4)
	for i, conn := range all {
		binary.LittleEndian.PutUint32(number, uint32(i))
		mustWrite(t, conn, string(number))
	}
	for i, conn := range all {
		if _, err := io.ReadFull(conn, number); err != nil {
			t.Fatal(err)
		}
		if got := binary.LittleEndian.Uint32(number); got != uint32(i) {
			t.Fatalf("connection %d got the echo of %d", i, got)
		}
	}
	in.Close() // ends it
	if rest, _ := io.ReadAll(out); !bytes.Contains(rest, []byte("PASS")) {
		t.Errorf("the child says %s", rest)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// serveMany is the child of the test above.
func serveMany(t *testing.T, conns int) {
	setFileLimit(t, 256)
	e := newEcho()
	listeners := mustListen(t, "127.0.0.1:0", 1, ListenOptions{})
	l, err := NewURing(3, Config{Listeners: listeners})
	if err != nil {
		t.Fatal(err)
	}
	e.t, e.loop, e.known = t, l, map[Handle]bool{}
	startLoop(t, &e.probe)
	os.Stdout.WriteString(listeners[0].Addr().String() + "\n")
	io.Copy(io.Discard, os.Stdin)
	onLoop(t, l, func() {
		if l.Stats().Accepts != uint64(conns) {
			t.Errorf("%d accepted, want %d", l.Stats().Accepts, conns)
		}
		if len(l.banks) < conns/256 {
			t.Errorf("%d rings for %d connections", len(l.banks), conns)
		}
	})
	if fds, err := os.ReadDir("/proc/self/fd"); err != nil || len(fds) > 64 {
		t.Errorf("%d descriptors open, %v", len(fds), err)
	}
}

// Without a descriptor for another ring accepting rests when the table is full, established
// connections go on, and when there are descriptors again those that waited are accepted. It
// lowers the limit of open files, and so has a process of its own.
func TestAcceptWithoutRings(t *testing.T) {
	if os.Getenv(envFiles) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestAcceptWithoutRings$", "-test.timeout=60s")
		cmd.Env = append(os.Environ(), envFiles+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	const waiting = 5
	var log lockedBuffer
	e := newEcho()
	sh := whole(t)
	sh.files = acceptsInFlight
	l, addr := shaped(t, &e.probe, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, sh)
	all := make([]*net.TCPConn, acceptsInFlight+waiting)
	fill := func(from, to int) {
		setFileLimit(t, 1000)
		for i := from; i < to; i++ {
			all[i] = dial(t, addr)
			mustWrite(t, all[i], "one")
		}
		setFileLimit(t, 3)
	}
	fill(0, 3)
	began := time.Now()
	startLoop(t, &e.probe)
	var s Stats
	until := func(cond func() bool) {
		for deadline := time.Now().Add(patience); !cond(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("waited in vain: %+v", s)
			}
			onLoop(t, l, func() { s = l.Stats() })
		}
	}
	until(func() bool { return s.AcceptErrors > 0 })
	onLoop(t, l, func() { fill(3, len(all)) }) // most find an accept that was waiting for them
	until(func() bool { return s.AcceptErrors > 1 && s.Accepts == acceptsInFlight })
	if s.AcceptErrors > uint64(5+time.Since(began)/acceptPauseMin) || s.Accepts != acceptsInFlight {
		t.Errorf("%d accepted; tried %d times in a moment", s.Accepts, s.AcceptErrors)
	}
	mustSleep(t, l)
	setFileLimit(t, 1000)
	for _, conn := range all {
		mustRead(t, conn, "one")
	}
	for _, text := range []string{"cannot accept", "ulimit -n", "accepting again"} {
		if n := strings.Count(log.String(), text); n != 1 {
			t.Errorf("%q said %d times, want once: %s", text, n, log.String())
		}
	}
}

// When there are more completions than the queue holds, none is lost.
func TestCompletionsOverflow(t *testing.T) {
	const conns = 100
	sh := whole(t)
	sh.entries, sh.completions = 4, 8
	e := newEcho()
	l, addr := shaped(t, &e.probe, Config{}, sh)
	startLoop(t, &e.probe)
	all := make([]*net.TCPConn, conns)
	for i := range all {
		all[i] = dial(t, addr)
		mustWrite(t, all[i], "one")
		mustRead(t, all[i], "one")
	}
	onLoop(t, l, func() {
		for _, conn := range all {
			mustWrite(t, conn, "two")
		}
		l.banks[0].ring.Submit()
		if !l.banks[0].ring.Waiting() {
			t.Error("the queue did not overflow")
		}
	})
	for _, conn := range all {
		mustRead(t, conn, "two")
	}
}

// Senders that never pause share the buffers fairly with one that has little to say, and none of
// them takes more than its share of a turn.
func TestFloodersShare(t *testing.T) {
	const flooders, share = 20, 16 << 10
	for name, features := range map[string]uring.Features{
		"as it is": whole(t).features, "older": {}, "without limit": {Incremental: true},
	} {
		t.Run(name, func(t *testing.T) {
			sh := whole(t)
			sh.features = features
			p := &probe{}
			got := map[Handle]int{} // in this turn
			var quiet Handle
			waited, longest := 0, 0 // turns since the quiet one was last heard
			turns := 0
			p.received = func(h Handle, b []byte) {
				got[h] += len(b)
				if string(b) == "quiet" {
					quiet = h
					waited = 0
					p.loop.Send(h, []byte("heard"))
				}
			}
			p.flush = func() {
				for h, n := range got {
					if n > share {
						t.Errorf("%x took %d bytes of a turn, want at most %d", h, n, share)
					}
				}
				clear(got)
				turns++
				if quiet != 0 {
					waited++
					longest = max(longest, waited)
				}
			}
			l, addr := shaped(t, p, Config{ReceiveBytes: share}, sh)
			startLoop(t, p)
			for range flooders {
				conn := dial(t, addr)
				go func() {
					b := make([]byte, 256<<10)
					for {
						if _, err := conn.Write(b); err != nil {
							return // the test is over
						}
					}
				}()
			}
			conn := dial(t, addr)
			for range 50 {
				mustWrite(t, conn, "quiet")
				mustRead(t, conn, "heard")
			}
			onLoop(t, l, func() {
				if l.Stats().ReceiveBytes < 1<<20 {
					t.Errorf("%d bytes received: nobody floods", l.Stats().ReceiveBytes)
				}
				if turns < 20 {
					t.Errorf("all in %d turns", turns)
				}
			})
		})
	}
}

// A completion of the connection that had a slot before changes nothing for its successor.
func TestStaleCompletion(t *testing.T) {
	e := newEcho()
	l, addr := shaped(t, &e.probe, Config{}, whole(t))
	handles := make(chan Handle, 1)
	inner := e.accepted
	e.accepted = func(h Handle, i int, r netip.AddrPort) { inner(h, i, r); handles <- h }
	startLoop(t, &e.probe)
	conn := dial(t, addr)
	h := within(t, handles)
	onLoop(t, l, func() {
		before, ops := *l.at(int32(h.Slot())), l.ops
		for kind := uint8(kindConnect); kind < kindCall; kind++ {
			for _, res := range []int32{0, 5, -int32(unix.ECONNRESET)} {
				l.complete(l.banks[0], &uring.CQE{Res: res,
					UserData: userData(kind, int32(h.Slot()), h.Generation()+1)})
			}
		}
		if now := *l.at(int32(h.Slot())); now != before || l.ops != ops {
			t.Errorf("%+v became %+v", before, now)
		}
	})
	mustWrite(t, conn, "still here")
	mustRead(t, conn, "still here")
}

// Stop waits for the kernel: of what was in flight nothing is left that could touch memory.
func TestStopQuiesces(t *testing.T) {
	eachURing(t, func(t *testing.T, sh shape) {
		p := &probe{}
		handles := make(chan Handle, 100)
		var cause error
		p.accepted = func(h Handle, _ int, _ netip.AddrPort) {
			switch len(p.known) % 3 {
			case 0:
				p.loop.Send(h, make([]byte, 8<<20)) // blocks in the handler's memory
			case 1:
				for p.loop.Send(h, make([]byte, sendCopyMax)) { // blocks in the loop's
				}
				p.loop.PauseReceive(h)
			}
			handles <- h
		}
		p.sent = func(_ Handle, _ []byte, _ int, err error) { cause = err }
		l, addr := shaped(t, p, Config{}, sh)
		ended := make(chan error, 1)
		go func() { ended <- l.Run(p) }()
		for range 30 {
			conn := dial(t, addr)
			go conn.Write(make([]byte, 1<<20))
			within(t, handles)
		}
		onLoop(t, l, func() {
			for range 5 {
				if _, err := l.Connect(netip.AddrPort{}, addr); err != nil {
					t.Error(err)
				}
			}
			l.Stop()
		})
		if err := within(t, ended); err != nil || cause != ErrStopped {
			t.Errorf("Run: %v; Sent: %v", err, cause)
		}
		if l.ops != 0 || len(p.known) != 0 {
			t.Errorf("%d requests and %d connections left", l.ops, len(p.known))
		}
	})
}

// eachURing runs a test on the shape of this machine and on the scant one.
func eachURing(t *testing.T, test func(t *testing.T, sh shape)) {
	t.Run("whole", func(t *testing.T) { test(t, whole(t)) })
	t.Run("scant", func(t *testing.T) { test(t, scant()) })
}

// Sends of every length arrive in order, however they go: copied, joined to one that has not left,
// behind another, or from the handler's memory.
func TestSendsKeepOrder(t *testing.T) {
	eachURing(t, func(t *testing.T, sh shape) {
		const total = 8 << 20
		random := rand.New(rand.NewPCG(5, 6))
		data := make([]byte, total)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		p := &probe{}
		var kept, taken int
		rest := data
		var more func(Handle)
		more = func(h Handle) {
			for len(rest) > 0 {
				n := min(1+random.IntN(1<<(1+random.IntN(17))), len(rest))
				b := bytes.Clone(rest[:n])
				rest = rest[n:]
				if !p.loop.Send(h, b) {
					kept++
					return
				}
				taken++
				clear(b) // it is ours again
				if random.IntN(3) == 0 {
					p.loop.Post(func() { more(h) }) // in another turn
					return
				}
			}
			p.loop.Close(h)
		}
		p.accepted = func(h Handle, _ int, _ netip.AddrPort) { more(h) }
		p.sent = func(h Handle, b []byte, n int, err error) {
			if err != nil || n != len(b) {
				t.Errorf("Sent %d of %d, %v", n, len(b), err)
			}
			more(h)
		}
		l, addr := shaped(t, p, Config{}, sh)
		startLoop(t, p)
		got, err := io.ReadAll(dial(t, addr))
		if err != nil || !bytes.Equal(got, data[:len(got)]) || len(got) != total {
			t.Fatalf("%d bytes, %v, or others than were sent", len(got), err)
		}
		onLoop(t, l, func() {
			if kept == 0 || taken == 0 {
				t.Errorf("%d sends kept, %d taken: not every way was tried", kept, taken)
			}
		})
	})
}

// Last words that are sent just before Close arrive.
func TestSendThenClose(t *testing.T) {
	eachURing(t, func(t *testing.T, sh shape) {
		p := &probe{}
		p.accepted = func(h Handle, _ int, _ netip.AddrPort) {
			p.loop.Send(h, []byte("hello, "))
			p.loop.Send(h, []byte("good-bye"))
			p.loop.Close(h)
		}
		_, addr := shaped(t, p, Config{}, sh)
		startLoop(t, p)
		got, err := io.ReadAll(dial(t, addr))
		if string(got) != "hello, good-bye" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// A turn parks few of many silent connections: others have to wait for it.
func TestParkingIsSpread(t *testing.T) {
	const many = 3 * parkSlots
	p := &probe{}
	handles := make(chan Handle, many)
	p.accepted = func(h Handle, _ int, _ netip.AddrPort) { handles <- h }
	l, addr := shaped(t, p, Config{}, whole(t))
	startLoop(t, p)
	for range many {
		dial(t, addr)
		within(t, handles)
	}
	onLoop(t, l, func() {
		for i := range many {
			l.at(int32(i)).flags &^= heard
		}
		l.parkAt, l.parkNext = 0, 0
		l.parkStep()
		parked := 0
		for i := range many {
			if l.at(int32(i)).flags&parking != 0 {
				parked++
			}
		}
		if parked == 0 || parked > parkSlots {
			t.Errorf("%d connections are parked in a turn, want %d at most", parked, parkSlots)
		}
		round := time.Duration(l.parkAt-l.now) * time.Duration(len(l.pages)*connsPerPage/parkSlots)
		if round != parkRound {
			t.Errorf("a round takes %v, want %v", round, parkRound)
		}
	})
}

// Silent connections are parked after a while, come back with the first byte, and everything that
// may happen to a connection may happen to one that is parked.
func TestParking(t *testing.T) {
	eachURing(t, func(t *testing.T, sh shape) {
		e := newEcho()
		handles, closed := make(chan Handle, 10), make(chan error, 10)
		inner := e.accepted
		e.accepted = func(h Handle, i int, r netip.AddrPort) { inner(h, i, r); handles <- h }
		gone := e.closed
		e.closed = func(h Handle, err error) { gone(h, err); closed <- err }
		l, addr := shaped(t, &e.probe, Config{}, sh)
		startLoop(t, &e.probe)
		park := func() { // goes through rounds as if time had passed
			t.Helper()
			for range 2 {
				onLoop(t, l, func() {
					for range len(l.pages) * connsPerPage / parkSlots {
						l.parkAt = 0
						l.parkStep()
					}
				})
				onLoop(t, l, func() {}) // the cancelled receives come back
				onLoop(t, l, func() {})
			}
			onLoop(t, l, func() {
				if l.receives != 0 || l.parkDue() != 0 {
					t.Errorf("%d receives with the kernel after parking", l.receives)
				}
			})
		}
		conns := make([]*net.TCPConn, 6)
		hs := make([]Handle, len(conns))
		for i := range conns {
			conns[i] = dial(t, addr)
			hs[i] = within(t, handles)
		}
		mustWrite(t, conns[0], "before")
		mustRead(t, conns[0], "before")
		park()
		mustSleep(t, l)
		for range 3 {
			mustWrite(t, conns[0], "after")
			mustRead(t, conns[0], "after")
		}
		onLoop(t, l, func() { l.PauseReceive(hs[1]); l.PauseReceive(hs[2]); l.Close(hs[3]) })
		if err := within(t, closed); err != nil {
			t.Errorf("Closed of a parked connection: %v", err)
		}
		mustWrite(t, conns[1], "held")
		park()
		onLoop(t, l, func() { l.ResumeReceive(hs[1]) })
		mustRead(t, conns[1], "held")
		for _, i := range []int{2, 4} { // paused, and not
			conns[i].SetLinger(0)
			conns[i].Close()
			if err := within(t, closed); !isOneOf(err, unix.ECONNRESET) {
				t.Errorf("reset of parked connection %d: %v", i, err)
			}
		}
		conns[5].CloseWrite()
		if n, err := conns[5].Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after FIN of a parked connection: %d, %v", n, err)
		}
	})
}
