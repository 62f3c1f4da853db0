package relay

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/netip"
	"testing"
	"time"

	"derpd/netpoll"
	"derpd/netpoll/fakepoll"
	"derpd/relay/derp"
	"derpd/tlsengine"
)

// fakeRelay is a relay with one loop in a world of its own time. Work of workers is done
// between turns.
type fakeRelay struct {
	*Server
	t       *testing.T
	world   *fakepoll.World
	poll    *fakepoll.Loop
	loop    *loop
	work    []func()
	stalled bool // the workers do nothing
}

func newFakeRelay(t *testing.T, secure bool, cfg Config) *fakeRelay {
	t.Helper()
	f := &fakeRelay{t: t, world: fakepoll.New(1, fakepoll.None())}
	cfg.Key = testKey(0)
	cfg.Seed = 1
	cfg.Submit = func(fn func()) { f.work = append(f.work, fn) }
	if secure {
		engine, err := tlsengine.NewServer(&tls.Config{
			Certificates: []tls.Certificate{liveCert()}})
		if err != nil {
			t.Fatal(err)
		}
		cfg.NewHandshake = func(local, remote net.Addr) Handshaker {
			return engine.New(local, remote)
		}
	}
	f.Server = New(cfg)
	f.poll = f.world.Loop(0, netpoll.ArenaBytesDefault)
	f.loop = f.Attach(f.poll, 1).(*loop)
	f.world.Attach(f.poll, f.loop)
	t.Cleanup(func() {
		f.poll.Post(f.loop.shutdown)
		f.pass(time.Second)
		f.Server.Close()
		for _, v := range f.world.Violations() {
			t.Error(v)
		}
	})
	return f
}

// pass lets time go by, and the workers work.
func (f *fakeRelay) pass(d time.Duration) {
	const tick = 10 * time.Millisecond
	for end := f.world.Now() + d; f.world.Now() < end; {
		f.world.Advance(tick)
		if !f.stalled {
			for len(f.work) > 0 {
				fn := f.work[0]
				f.work = f.work[1:]
				fn()
			}
		}
	}
}

func (f *fakeRelay) dial() *fakepoll.Peer {
	return f.world.Dial(f.poll, 0, netip.MustParseAddrPort("198.51.100.9:4000"))
}

// fakeStream is a peer's stream, through TLS if the relay speaks it.
type fakeStream struct {
	f    *fakeRelay
	peer *fakepoll.Peer
	tls  *tlsengine.Session
	wire []byte
}

// stream opens a connection and does the handshake.
func (f *fakeRelay) stream(secure bool) *fakeStream {
	f.t.Helper()
	s := &fakeStream{f: f, peer: f.dial()}
	if !secure {
		return s
	}
	engine, err := tlsengine.NewClient(&tls.Config{InsecureSkipVerify: true})
	if err != nil {
		f.t.Fatal(err)
	}
	hs := engine.New(nil, nil)
	defer hs.Stop()
	for range 100 {
		out, done, err := hs.Step(s.peer.Read(1 << 20))
		if err != nil {
			f.t.Fatal(err)
		}
		s.peer.Write(bytes.Clone(out))
		if done {
			s.tls = new(tlsengine.Session)
			if s.wire, _, err = hs.Finish(s.tls); err != nil {
				f.t.Fatal(err)
			}
			f.pass(50 * time.Millisecond)
			return s
		}
		f.pass(20 * time.Millisecond)
	}
	f.t.Fatal("the handshake does not end")
	return nil
}

func (s *fakeStream) write(p []byte) {
	if s.tls != nil {
		out := append(s.tls.SealStart(nil), p...)
		p = s.tls.SealFinish(out, 0)
	}
	s.peer.Write(p)
}

// read returns what has come of the stream.
func (s *fakeStream) read() (plain []byte) {
	s.wire = append(s.wire, s.peer.Read(1<<20)...)
	if s.tls == nil {
		plain, s.wire = s.wire, nil
		return plain
	}
	for {
		n, err := tlsengine.RecordLen(s.wire)
		if err != nil {
			s.f.t.Fatal(err)
		}
		if n == 0 || n > len(s.wire) {
			return plain
		}
		p, err := s.tls.Open(s.wire[:n])
		if err != nil {
			return plain // close_notify
		}
		plain = append(plain, p...)
		s.wire = s.wire[n:]
	}
}

// login upgrades and logs in.
func (s *fakeStream) login(n int) {
	s.f.t.Helper()
	info, _ := clientInfo(s.f.t, testKey(n), s.f.Public())
	s.write(append([]byte(upgradeRequest), info...))
	s.f.pass(50 * time.Millisecond)
	if s.f.loop.n.Logins == 0 || len(s.read()) == 0 {
		s.f.t.Fatal("not logged in")
	}
}

// TestDeadlines: each stage before the login has a deadline that no trickle of bytes moves.
func TestDeadlines(t *testing.T) {
	hello := clientHello()
	for _, tc := range []struct {
		name   string
		secure bool
		begin  func(f *fakeRelay) (write func([]byte)) // up to the stage in question
		bytes  []byte                                  // what then trickles in, one a second
		after  time.Duration
		why    Reason
	}{
		{"nothing", true, silent, nil, handshakeTimeout, EndHandshakeTimeout},
		{"part of a hello", true, silent, hello, handshakeTimeout, EndHandshakeTimeout},
		{"a hello and no more", true, func(f *fakeRelay) func([]byte) {
			f.dial().Write(hello)
			return nil
		}, nil, handshakeTimeout, EndHandshakeTimeout},
		{"stalled workers", true, func(f *fakeRelay) func([]byte) {
			f.stalled = true
			f.dial().Write(hello)
			return nil
		}, nil, handshakeTimeout, EndHandshakeTimeout},
		{"no request", true, whole, nil, requestTimeout, EndRequestTimeout},
		{"no request on plain TCP", false, silent, nil, requestTimeout, EndRequestTimeout},
		{"part of a request", true, whole, []byte(upgradeRequest), requestTimeout,
			EndRequestTimeout},
		{"part of a request on plain TCP", false, silent, []byte(upgradeRequest), requestTimeout,
			EndRequestTimeout},
		{"no login", true, upgraded, nil, loginTimeout, EndLoginTimeout},
		{"no login on plain TCP", false, upgraded, nil, loginTimeout, EndLoginTimeout},
		{"part of a login", true, upgraded, derp.AppendHeader(nil, derp.FrameClientInfo, 200),
			loginTimeout, EndLoginTimeout},
		{"login and stalled workers", true, func(f *fakeRelay) func([]byte) {
			write := upgraded(f)
			f.stalled = true
			info, _ := clientInfo(f.t, testKey(3), f.Public())
			write(info)
			return nil
		}, nil, loginTimeout, EndLoginTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFakeRelay(t, tc.secure, Config{})
			write := tc.begin(f)
			start := f.world.Now()
			for f.loop.n.Connections > 0 || f.loop.n.Accepts == 0 {
				if f.world.Now()-start > tc.after+2*time.Second {
					t.Fatalf("still open after %v", f.world.Now()-start)
				}
				if len(tc.bytes) > 0 {
					write(tc.bytes[:1])
					tc.bytes = tc.bytes[1:]
				}
				f.pass(time.Second)
			}
			if took := f.world.Now() - start; took < tc.after-time.Second {
				t.Errorf("ended after %v, want %v", took, tc.after)
			}
			if f.loop.n.Ends[tc.why] != 1 {
				t.Errorf("ends %v, want one for %v", f.loop.n.Ends, tc.why)
			}
			f.stalled = false
			f.pass(time.Second)
			if n := f.shared.handshakes.Load(); n != 0 {
				t.Errorf("%d handshakes are still counted", n)
			}
			if n := f.loop.n.InHandshake; n != 0 {
				t.Errorf("the gauge shows %d handshakes", n)
			}
		})
	}
}

func silent(f *fakeRelay) func([]byte) { return f.dial().Write }
func whole(f *fakeRelay) func([]byte)  { return f.stream(true).write }
func upgraded(f *fakeRelay) func([]byte) {
	s := f.stream(f.cfg.NewHandshake != nil)
	s.write([]byte(upgradeRequest))
	f.pass(20 * time.Millisecond)
	return s.write
}

// TestPeerThatReadsNothing: it is cut when the write timeout is over, or when a drain takes
// too long.
func TestPeerThatReadsNothing(t *testing.T) {
	freeze := func(p *fakepoll.Peer) {
		p.SetWindow(0)
		p.Freeze(true)
	}
	t.Run("write timeout", func(t *testing.T) {
		f := newFakeRelay(t, true, Config{WriteTimeout: 2 * time.Second})
		s, other := f.stream(true), f.stream(true)
		s.login(1)
		other.login(2)
		freeze(s.peer)
		pub := testKey(1).Public()
		other.write(derp.AppendSendPacket(nil, pub, testPacket(1)))
		f.pass(1500 * time.Millisecond)
		if f.loop.n.Clients != 2 {
			t.Fatal("cut before its time")
		}
		f.pass(time.Second)
		if n := f.loop.n; n.Ends[EndWriteTimeout] != 1 || n.WriteTimeouts != 1 || n.Clients != 1 {
			t.Errorf("%d ends for %v, %d counted, %d clients left", n.Ends[EndWriteTimeout],
				EndWriteTimeout, n.WriteTimeouts, n.Clients)
		}
		if d := f.loop.n.Drops[DropWriteError][0]; d != (KindCount{1, packetBytes}) {
			t.Errorf("counted as lost: %+v, want the one packet", d)
		}
	})
	t.Run("drain", func(t *testing.T) {
		f := newFakeRelay(t, false, Config{})
		s := f.stream(false)
		freeze(s.peer)
		s.write(bytes.Repeat([]byte("a"), requestBytesMax+1))
		f.pass(drainTimeout - time.Second)
		if f.loop.n.Connections != 1 {
			t.Fatal("cut before its time")
		}
		f.pass(2 * time.Second)
		if n := f.loop.n; n.Ends[EndRequestTooLarge] != 1 || n.Connections != 0 {
			t.Errorf("%d ends for %v, %d connections left", n.Ends[EndRequestTooLarge],
				EndRequestTooLarge, n.Connections)
		}
	})
	t.Run("linger", func(t *testing.T) { // takes the answer, does not close
		f := newFakeRelay(t, false, Config{})
		s := f.stream(false)
		s.write(bytes.Repeat([]byte("a"), requestBytesMax+1))
		f.pass(100 * time.Millisecond)
		if !bytes.HasPrefix(s.read(), []byte("HTTP/1.1 431 ")) || s.peer.Closed() {
			t.Fatal("no answer, or closed at once")
		}
		s.write(make([]byte, 100_000))
		f.pass(lingerTimeout)
		if !s.peer.Closed() || f.loop.n.Ends[EndRequestTooLarge] != 1 {
			t.Errorf("still open %v after the answer", lingerTimeout)
		}
	})
}

// TestKeepAlives: a client that is silent for an hour gets one every 60 to 65 s.
func TestKeepAlives(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		f := newFakeRelay(t, secure, Config{})
		s := f.stream(secure)
		s.login(1)
		last, n := f.world.Now(), 0
		for end := last + 20*time.Minute; f.world.Now() < end; f.pass(100 * time.Millisecond) {
			got := s.read()
			if len(got) == 0 {
				continue
			}
			if !bytes.Equal(got, derp.AppendKeepAlive(nil)) {
				t.Fatalf("received %x", got)
			}
			pause := f.world.Now() - last
			if pause < keepAliveEvery-200*time.Millisecond ||
				pause > keepAliveEvery+keepAliveJitter+200*time.Millisecond {
				t.Errorf("keepalive %d came after %v", n, pause)
			}
			last, n = f.world.Now(), n+1
		}
		if n < 18 || n > 20 || f.loop.n.KeepAlives != uint64(n) {
			t.Errorf("%d keepalives in 20 minutes, %d counted", n, f.loop.n.KeepAlives)
		}
	})
}
