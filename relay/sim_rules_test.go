package relay

import (
	"reflect"
	"testing"
	"time"

	"derpd/netpoll"
	"derpd/relay/derp"
	"derpd/relay/queue"
)

// simCalm is a world without weather and without crowd, for scripts.
func simCalm(t *testing.T, rules simRules) *simWorld {
	t.Helper()
	return simCalmSeed(t, 1, rules)
}

func simCalmSeed(t *testing.T, seed uint64, rules simRules) *simWorld {
	t.Helper()
	rules.calm, rules.gentle = true, true
	rules.loops, rules.nodes = max(rules.loops, 1), 8
	w := newSimWorld(seed, rules)
	t.Cleanup(func() {
		for _, fault := range append(w.faults, w.net.Violations()...) {
			t.Error(fault)
		}
		w.srv.Close()
	})
	return w
}

// join logs a client in.
func (w *simWorld) join(t *testing.T, node int) *simConn {
	t.Helper()
	c := w.dial(node)
	c.begin()
	if !w.until(func() bool { return c.ready && c.client != nil }) {
		t.Fatalf("%v: no login", c)
	}
	return c
}

// flow lets everything that is written arrive and be read, in no time.
func (w *simWorld) flow(t *testing.T) {
	t.Helper()
	if !w.until(w.quiet) {
		t.Fatalf("does not settle: %s", w.unquiet())
	}
}

// tick lets d pass and has everyone read.
func (w *simWorld) tick(d time.Duration) {
	w.net.Advance(d)
	for _, c := range w.live {
		c.readAll()
	}
	w.react()
}

// spokenTo tells whether a keepalive came within d.
func (c *simConn) spokenTo(d time.Duration) bool {
	n := len(c.beats)
	return n > 0 && c.world.net.Now()-time.Duration(c.beats[n-1]) < d
}

// hasCiphers tells whether the relay holds key schedules for a connection.
func (c *simConn) hasCiphers() bool {
	session := reflect.ValueOf(c.client.conn.tls).Elem()
	return !session.FieldByName("openAEAD").IsNil() || !session.FieldByName("sealAEAD").IsNil()
}

// A client hears from the relay every 60 to 65 s, busy or not, and an idle one costs no key
// schedules.
func TestSimKeepAlive(t *testing.T) {
	w := simCalm(t, simRules{tls: true})
	idle, busy, other := w.join(t, 0), w.join(t, 1), w.join(t, 2)
	const slice = 500 * time.Millisecond
	dropped := 0
	for i := range int(20 * time.Minute / slice) {
		busy.send(other.node, 100, false)
		busy.write(true)
		w.tick(slice)
		settled := i > int(2*settledAfter/slice)
		if settled && (!busy.hasCiphers() || !other.hasCiphers() && !other.spokenTo(slice)) {
			t.Fatalf("after %v a busy connection lost its ciphers", w.net.Now())
		}
		if settled && !idle.spokenTo(slice) {
			dropped++
			if idle.hasCiphers() {
				t.Fatalf("an idle connection still has its ciphers after %v", w.net.Now())
			}
		}
	}
	busy.send(idle.node, 100, false)
	busy.write(true)
	w.tick(slice)
	if !idle.hasCiphers() {
		t.Error("an idle connection got a packet without ciphers")
	}
	for range int(2*idleAfter/slice) + 1 {
		w.tick(slice)
	}
	if idle.hasCiphers() {
		t.Error("a connection that got one packet keeps its ciphers for longer than idleAfter twice")
	}
	if dropped == 0 || other.parsed < 2000 {
		t.Errorf("looked %d times at an idle connection; %d packets", dropped, other.parsed)
	}
	waits := make(map[int64]bool)
	for _, c := range []*simConn{idle, busy, other} {
		last := c.client.since
		for _, beat := range c.beats {
			wait := time.Duration(beat - last)
			if wait < keepAliveEvery-slice ||
				wait > keepAliveEvery+keepAliveJitter+slice+2*netpoll.TimerTick {
				t.Errorf("%v: %v between keepalives", c, wait)
			}
			waits[int64(wait/slice)] = true
			last = beat
		}
		if n := len(c.beats); n < 18 || n > 20 {
			t.Errorf("%v: %d keepalives in 20 minutes", c, n)
		}
	}
	if len(waits) < 4 {
		t.Errorf("keepalives without jitter: %v half-seconds", waits)
	}
}

// Whoever does not get on is cut, each stage at its time.
func TestSimLoginTimeouts(t *testing.T) {
	for _, tc := range []struct {
		name  string
		tls   bool
		begin func(c *simConn)
		after time.Duration
		why   Reason
	}{
		{"no hello", true, func(*simConn) {}, handshakeTimeout, EndHandshakeTimeout},
		{"half a hello", true, func(c *simConn) {
			c.sayHello(0)
			c.wire = c.wire[:7]
			c.write(true)
		}, handshakeTimeout, EndHandshakeTimeout},
		{"half a handshake", true, func(c *simConn) {
			for c.flights != 2 {
				c.sayHello(simHelloLong)
			}
			c.write(true)
			c.leaving = true // it writes no more
		}, handshakeTimeout, EndHandshakeTimeout},
		{"no request over TLS", true, func(c *simConn) {
			c.sayHello(0)
			c.write(true)
		}, requestTimeout, EndRequestTimeout},
		{"no request", false, func(*simConn) {}, requestTimeout, EndRequestTimeout},
		{"half a request", false, func(c *simConn) {
			c.say([]byte("GET /derp HTTP/1.1\r\nHost:"))
			c.write(true)
		}, requestTimeout, EndRequestTimeout},
		{"no login", false, func(c *simConn) {
			c.early = true // so that the greeting is not answered
			c.open()
			c.write(true)
		}, loginTimeout, EndLoginTimeout},
		{"half a login over TLS", true, func(c *simConn) {
			c.fast, c.greeted, c.early = true, true, true
			c.open()
			c.login()
			c.plain = c.plain[:len(c.plain)-1]
			c.write(true)
		}, loginTimeout, EndLoginTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := simCalm(t, simRules{tls: tc.tls})
			c := w.dial(0)
			tc.begin(c)
			for w.net.Now() < tc.after-50*time.Millisecond {
				w.pass(40 * time.Millisecond)
				c.write(true)
				if c.peer.Closed() {
					t.Fatalf("closed after %v", w.net.Now())
				}
			}
			w.pass(200 * time.Millisecond)
			if n := w.totals(); !c.peer.Closed() || n.Ends[tc.why] != 1 || n.Connections != 0 {
				t.Errorf("after %v: closed %t, %d ends for %v, %d connections", w.net.Now(),
					c.peer.Closed(), n.Ends[tc.why], tc.why, n.Connections)
			}
			w.flow(t)
			w.checkEmpty()
		})
	}
}

// A reader that takes nothing is cut after the write timeout; nobody else notices.
func TestSimFrozenReader(t *testing.T) {
	w := simCalm(t, simRules{loops: 2})
	sender, frozen, other := w.join(t, 0), w.join(t, 1), w.join(t, 2)
	frozen.frozen = true
	frozen.peer.Freeze(true)
	frozen.peer.SetWindow(1000)
	start := w.net.Now()
	cut := time.Duration(0)
	rounds := 0
	for w.net.Now() < start+4*time.Second {
		rounds++
		for range 3 {
			sender.send(frozen.node, 1000, false)
			sender.send(other.node, 1000, false)
		}
		sender.write(true)
		w.tick(20 * time.Millisecond)
		if other.parsed != 3*rounds {
			t.Fatalf("%v after the freeze the other has got %d of %d packets",
				w.net.Now()-start, other.parsed, 3*rounds)
		}
		if cut == 0 && frozen.peer.Closed() {
			cut = w.net.Now() - start
		}
	}
	if cut < 2*time.Second || cut > 2*time.Second+3*netpoll.TimerTick {
		t.Errorf("the frozen reader was cut after %v", cut)
	}
	n := w.totals()
	if n.WriteTimeouts != 1 || n.Ends[EndWriteTimeout] != 1 {
		t.Errorf("%d write timeouts, %d ends", n.WriteTimeouts, n.Ends[EndWriteTimeout])
	}
	late := n.Drops[DropUnknownDest][0].Frames
	if late == 0 || n.Drops[DropGoneDisconnected][0].Frames == 0 {
		t.Errorf("drops %v: none with the connection, or none after it", n.Drops)
	}
	frozen.thaw()
	frozen.read()
	w.flow(t)
	w.checkSettled()
}

// What has waited for longer than a second is dropped, and counted; what is younger is sent.
func TestSimQueuedFramesExpire(t *testing.T) {
	for _, disco := range []bool{false, true} {
		w := simCalm(t, simRules{forever: true})
		sender, slow := w.join(t, 0), w.join(t, 1)
		slow.peer.SetWindow(0)
		kind := queue.Data
		if disco {
			kind = queue.Disco
		}
		send := func(n int) {
			for range n {
				sender.send(slow.node, 200, disco)
			}
			sender.write(true)
			w.tick(10 * time.Millisecond)
		}
		send(1) // is in flight until the window opens
		send(5)
		w.tick(queue.AgeMax - 200*time.Millisecond)
		send(7)
		w.tick(300 * time.Millisecond)
		slow.thaw()
		w.flow(t)
		if drops := w.totals().Drops[DropQueueHead][kind].Frames; slow.parsed != 1+7 || drops != 5 {
			t.Errorf("class %d: %d packets came, %d were dropped; want 8 and 5", kind, slow.parsed,
				drops)
		}
		w.checkSettled()
	}
}

// A peer that sends pings and reads nothing makes us keep a handful of pongs.
func TestSimPongsBounded(t *testing.T) {
	w := simCalm(t, simRules{forever: true})
	c := w.join(t, 0)
	c.peer.SetWindow(0)
	const pings = 300
	for range pings {
		c.ping()
		c.write(true)
		w.tick(time.Millisecond)
		if ctl := c.client.conn.ctl; ctl != nil &&
			len(ctl.Buf) > answersPending*(derp.HeaderLen+derp.PingLen) {
			t.Fatalf("%d bytes of pongs wait", len(ctl.Buf))
		}
	}
	c.thaw()
	w.flow(t)
	n := w.totals()
	if c.pongs != 1+answersPending || n.SentPong != uint64(c.pongs) || n.GotPing != pings {
		t.Errorf("%d pongs came, %d sent, %d pings; want %d pongs", c.pongs, n.SentPong,
			n.GotPing, 1+answersPending)
	}
	c.ping()
	c.write(true)
	w.flow(t)
	if c.pongs != 2+answersPending {
		t.Error("no pong after the peer read again")
	}
}

// What one loop pushes to another's client within a turn is bounded; the rest is dropped at
// once, and counted, however much the senders write.
func TestSimInboxBounded(t *testing.T) {
	for kind, limit := range map[queue.Kind]int{
		queue.Data: queue.InboxDataMax, queue.Disco: queue.InboxDiscoMax,
	} {
		w := simCalm(t, simRules{loops: 2, forever: true, arena: 8 << 20})
		receiver := w.join(t, 0)
		var senders []*simConn
		for len(senders) < 20 {
			c := w.join(t, 1+len(senders)%7)
			if c.client.loop != receiver.client.loop {
				senders = append(senders, c)
			}
		}
		const rounds, packets, size = 6, 3, 60_000
		for range rounds {
			for _, c := range senders {
				for range packets {
					c.send(receiver.node, size, kind == queue.Disco)
				}
				c.write(true)
			}
			w.flow(t)
		}
		n := w.totals()
		tail := n.Drops[DropQueueTail][kind].Frames
		if tail == 0 {
			t.Errorf("class %d: no drop at the inbox after %d bursts of %d MB, it holds %d KiB", kind,
				rounds, len(senders)*packets*size/1_000_000, limit>>10)
		}
		w.checkSettled()
	}
}

// A key that is back before all loops know that it had left is not reported gone behind its
// new packets; and when it leaves for good, all who ever heard from it are told.
func TestSimReturnOvertakesDeparture(t *testing.T) {
	back := 0
	for seed := uint64(1); seed <= 60; seed++ {
		w := simCalmSeed(t, seed, simRules{loops: 2, forever: true})
		receiver, first, witness := w.join(t, 0), w.join(t, 1), w.join(t, 2)
		first.send(receiver.node, 100, false)
		first.send(witness.node, 100, false)
		w.flow(t)
		again := w.dial(1)
		again.fast, again.early, again.greeted = true, true, true
		again.open()
		again.login()
		again.send(receiver.node, 100, false)
		again.write(true)
		for len(w.jobs) == 0 {
			w.net.Step()
		}
		first.leave()
		for first.here() {
			w.net.Step()
		}
		w.work() // its login, while the news of its departure is under way
		w.flow(t)
		if !receiver.gone[1] {
			back++
		}
		again.leave()
		w.flow(t)
		w.checkSettled()
		if !witness.gone[1] {
			t.Errorf("seed %d: a witness was not told", seed)
		}
	}
	if back == 0 {
		t.Error("no seed has the key back in time")
	}
}
