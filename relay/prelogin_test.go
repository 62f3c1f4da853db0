package relay

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"derpd/relay/derp"
)

// TestLongClientInfo: a login of 200 KiB is taken, also when it comes slowly, as long as all
// of them together stay within the budget.
func TestLongClientInfo(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		const long = 200 << 10
		r := startLive(t, secure, Config{PreLoginBudget: long})
		others := r.bystand(t)
		text := fmt.Appendf(nil, `{"version":2,"Padding":"%s"}`, strings.Repeat("x", long))
		info := func(n int) []byte { return boxedInfo(testKey(n), r.Public(), text) }

		first := r.upgrade(t, r.stream(t))
		frame := info(1)
		for part := frame[:len(frame)-1000]; len(part) > 0; part = part[min(5000, len(part)):] {
			if _, err := first.Write(part[:min(5000, len(part))]); err != nil {
				t.Fatal(err)
			}
		}
		waitFor(t, "the first login to draw on the budget", func() bool {
			return r.shared.preLogin.Load() > long-preLoginBytesMax-2000
		})
		second := r.upgrade(t, r.stream(t))
		r.wantEnd(t, []Reason{EndPreLoginBudget}, func() {
			second.Write(info(2))
			readAll(t, second)
		})
		others.check(t, true)
		if _, err := first.Write(frame[len(frame)-1000:]); err != nil {
			t.Fatal(err)
		}
		if kind, _, err := first.recv(); kind != derp.FrameServerInfo {
			t.Fatalf("the long login was answered by %v, %v", kind, err)
		}
		if n := r.shared.preLogin.Load(); n != 0 {
			t.Errorf("%d bytes of the budget were not given back", n)
		}
		third := r.upgrade(t, r.stream(t))
		third.Write(info(3))
		if kind, _, err := third.recv(); kind != derp.FrameServerInfo {
			t.Fatalf("with the budget free again: %v, %v", kind, err)
		}
	})
}

// gate runs a relay's work in order, up to a number of pieces; the rest when it is opened.
type gate struct {
	work   chan func()
	opened chan struct{}
	open   func()
	waits  atomic.Bool
}

func newGate(t *testing.T, pieces int) *gate {
	g := &gate{work: make(chan func(), 1000), opened: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.opened) })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for fn := range g.work {
			if pieces--; pieces < 0 {
				g.waits.Store(true)
				<-g.opened
			}
			fn()
		}
	}()
	t.Cleanup(func() {
		g.open()
		close(g.work)
		<-ended
	})
	return g
}

// TestMuchBehindTheLogin: a client that sends a megabyte right behind its handshake and its
// login is held back while a worker is awaited; nothing is lost.
func TestMuchBehindTheLogin(t *testing.T) { onEngines(t, testMuchBehindTheLogin) }

func testMuchBehindTheLogin(t *testing.T) {
	for name, tc := range map[string]struct {
		secure bool
		pieces int // of work that are done at once
	}{"plain, login": {false, 0}, "tls, last flight": {true, 1}, "tls, login": {true, 2}} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, tc.pieces)
			r := startLive(t, tc.secure, Config{Submit: func(fn func()) { g.work <- fn }})
			c := r.stream(t)
			key := testKey(5)
			self := key.Public()
			info, shared := clientInfo(t, key, r.Public())
			wire := append([]byte(upgradeRequest), info...)
			const packets = 35 // few enough for the queue, whatever the client takes how slowly
			for n := range packets {
				for range 20 { // to be discarded
					wire = append(derp.AppendHeader(wire, 0x7f, packetBytes), testPacket(n)...)
				}
				wire = derp.AppendSendPacket(wire, self, testPacket(n))
			}
			var err error
			written := make(chan struct{})
			go func() {
				defer close(written)
				_, err = c.Write(wire)
			}()
			waitFor(t, "the work to wait", g.waits.Load)
			var before, now uint64
			waitFor(t, "receiving to stand still", func() bool {
				before, now = now, received(r)
				return now == before && now > 0
			})
			if now > 2*preLoginBytesMax {
				t.Errorf("%d bytes were taken in that cannot be looked at yet", now)
			}
			g.open()
			w := &wireClient{Conn: c, key: key, pub: self}
			w.readUpgraded(t, r)
			w.wantServerInfo(t, shared)
			for n := range packets {
				w.want(t, derp.AppendRecvPacket(nil, self, testPacket(n)))
			}
			if <-written; err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestBytesBeforeLogin: beyond 32 KiB nothing is kept for a connection that has not logged
// in, however the loop delivers it.
func TestBytesBeforeLogin(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		_, ds, work := newDoubles(t, 1, Config{})
		d := ds[0]
		cl := d.login(t, 1, secure) // for its session
		d.l.leave(d.l.at(cl.h))
		c := d.l.at(cl.h)
		c.phase = phaseLogin
		info, _ := clientInfo(t, testKey(2), d.l.srv.Public())
		d.l.Received(cl.h, cl.seal(info))
		d.l.Flush()
		if len(*work) != 1 || !d.slots[cl.h.Slot()].paused {
			t.Fatal("the login was not queued, or the peer is not held back")
		}
		part := make([]byte, 1000)
		for n := 0; c.phase != phaseDead; n += len(part) {
			if n > preLoginBytesMax {
				t.Fatalf("%d bytes are kept behind an unfinished login", n)
			}
			d.l.Received(cl.h, part)
			d.l.Flush()
		}
		if d.counted().Ends[EndPreLoginBytes] != 1 {
			t.Errorf("ended for another reason than %v", EndPreLoginBytes)
		}
		(*work)[0]() // its result finds nobody
		d.settle()
		if d.counted().Clients != 0 {
			t.Error("a connection that had ended is logged in")
		}
	})
}
