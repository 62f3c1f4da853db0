package relay

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"derpd/netpoll"
	"derpd/relay/admit"
	"derpd/relay/derp"
	"derpd/relay/ratelimit"
)

// TestMeshPeerFrames: what only a mesh peer may send, and what it is told.
func TestMeshPeerFrames(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		key := derp.MeshKey(bytes.Repeat([]byte{7}, 32))
		r := startLive(t, secure, Config{Mesh: Mesh{Key: key}})
		here := r.login(t, 1)
		peer := r.loginMesh(t, 2, key)
		say := func(frame []byte) {
			t.Helper()
			if _, err := peer.Write(frame); err != nil {
				t.Fatal(err)
			}
		}
		app := map[derp.PresentFlags]string{derp.PresentMeshPeer: "meshed"}
		present := func(w *wireClient, flags derp.PresentFlags) []byte {
			return derp.AppendPeerPresent(nil, derp.PeerPresent{Key: w.pub, Flags: flags,
				Addr: netip.MustParseAddrPort(w.LocalAddr().String()), AppName: app[flags]})
		}

		// First who is here, in no order, the watcher too; then who comes and goes.
		say(derp.AppendWatchConns(nil))
		want := [][]byte{present(here, derp.PresentRegular), present(peer, derp.PresentMeshPeer)}
		kind, payload, err := peer.recv()
		if err != nil {
			t.Fatal(err)
		}
		first := append(derp.AppendHeader(nil, kind, len(payload)), payload...)
		if bytes.Equal(first, want[1]) {
			want[0], want[1] = want[1], want[0]
		}
		if !bytes.Equal(first, want[0]) {
			t.Fatalf("a watcher is told %x, want one of %x", first, want)
		}
		peer.want(t, want[1])
		later := r.login(t, 3)
		peer.want(t, present(later, derp.PresentRegular))

		// A packet is delivered here, or a probe answered that its key is not.
		far := testKey(4).Public()
		say(derp.AppendForwardPacket(nil, far, here.pub, testPacket(9)))
		here.want(t, derp.AppendRecvPacket(nil, far, testPacket(9)))
		nowhere := testKey(5).Public()
		probe := append([]byte("TS💬"), make([]byte, 100)...)
		say(derp.AppendForwardPacket(nil, far, nowhere, probe))
		peer.want(t, derp.AppendPeerGone(nil, nowhere, derp.GoneNotHere))

		// ClosePeer ends every connection of a key.
		again := r.login(t, 3)
		peer.want(t, present(again, derp.PresentRegular))
		say(derp.AppendClosePeer(nil, later.pub))
		readAll(t, later)
		readAll(t, again)
		peer.want(t, derp.AppendPeerGone(nil, later.pub, derp.GoneDisconnected))

		for c := range r.Clients() {
			if c.MeshPeer != (c.Key == peer.pub) {
				t.Errorf("%+v", c)
			}
		}
		waitFor(t, "both ends to be counted", func() bool { return r.Snapshot().Clients == 2 })
		s := r.Snapshot()
		if s.Watchers != 1 || s.ForwardedIn != 2 || s.Ends[EndClosePeer] != 2 {
			t.Errorf("%d watchers, %d forwarded in, %d closed", s.Watchers, s.ForwardedIn,
				s.Ends[EndClosePeer])
		}
		if s.GoneDisconnected != 1 {
			t.Errorf("%d departures were told, want the watcher's one", s.GoneDisconnected)
		}
	})
}

// TestMeshPeerExempt: neither the admission check nor the rate of clients is for mesh peers.
func TestMeshPeerExempt(t *testing.T) { onEngines(t, testMeshPeerExempt) }

func testMeshPeerExempt(t *testing.T) {
	key := derp.MeshKey(bytes.Repeat([]byte{7}, 32))
	check, err := admit.New(admit.Config{DisallowAppNames: []string{"meshed"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(check.Close)
	r := startLive(t, false, Config{Mesh: Mesh{Key: key}, Admit: check})
	to := r.login(t, 1)
	peer := r.loginMesh(t, 2, key) // with the name that is refused
	r.wantEnd(t, []Reason{EndNotAdmitted}, func() {
		w := r.upgrade(t, r.stream(t))
		info, _, err := derp.AppendClientInfo(nil, testKey(3), r.Public(),
			derp.ClientInfo{Version: derp.ProtocolVersion, AppName: "meshed"}, randomNonce())
		if err != nil {
			t.Fatal(err)
		}
		w.Write(info)
		readAll(t, w)
	})
	r.SetRate(ratelimit.New(1, 0)) // a byte a second, and one frame of the longest at once
	packet := make([]byte, derp.MaxPacket)
	for n := range 4 {
		if _, err := peer.Write(derp.AppendSendPacket(nil, to.pub, packet)); err != nil {
			t.Fatal(err)
		}
		to.want(t, derp.AppendRecvPacket(nil, peer.pub, packet))
		if waits := r.Snapshot().RateWaits; waits > 0 {
			t.Fatalf("a mesh peer was held back at packet %d", n)
		}
	}
	for range 2 {
		if _, err := to.Write(derp.AppendSendPacket(nil, peer.pub, packet)); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "a client to be held back", func() bool { return r.Snapshot().RateWaits > 0 })
}

// TestWrongMeshKey: who presents another mesh key than the region's, or one where there is none,
// is a client like any other: it is asked for admission, and may not do what mesh peers may.
func TestWrongMeshKey(t *testing.T) { onEngines(t, testWrongMeshKey) }

func testWrongMeshKey(t *testing.T) {
	ours, wrong := bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{7}, 32)
	wrong[31]++
	for name, mesh := range map[string]Mesh{"another": {Key: derp.MeshKey(ours)}, "none": {}} {
		t.Run(name, func(t *testing.T) {
			r := startLive(t, false, Config{Mesh: mesh})
			p := r.loginMesh(t, 1, derp.MeshKey(wrong))
			for c := range r.Clients() {
				if c.MeshPeer {
					t.Error("it counts as a mesh peer")
				}
			}
			r.wantEnd(t, []Reason{EndNotPermitted}, func() {
				p.Write(derp.AppendWatchConns(nil))
				readAll(t, p)
			})
		})
	}
	check, err := admit.New(admit.Config{DisallowAppNames: []string{"meshed"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(check.Close)
	r := startLive(t, false, Config{Mesh: Mesh{Key: derp.MeshKey(ours)}, Admit: check})
	r.wantEnd(t, []Reason{EndNotAdmitted}, func() {
		w := r.upgrade(t, r.stream(t))
		info, _, err := derp.AppendClientInfo(nil, testKey(3), r.Public(), derp.ClientInfo{
			Version: derp.ProtocolVersion, MeshKey: derp.MeshKey(wrong), AppName: "meshed"},
			randomNonce())
		if err != nil {
			t.Fatal(err)
		}
		w.Write(info)
		readAll(t, w)
	})
}

// loginMesh is login with the region's mesh key.
func (r *liveRelay) loginMesh(t *testing.T, n int, key derp.MeshKey) *wireClient {
	t.Helper()
	w := r.upgrade(t, r.stream(t))
	w.key = testKey(n)
	w.pub = w.key.Public()
	info, shared, err := derp.AppendClientInfo(nil, w.key, r.Public(),
		derp.ClientInfo{Version: derp.ProtocolVersion, MeshKey: key, AppName: "meshed"}, randomNonce())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(info); err != nil {
		t.Fatal(err)
	}
	w.wantServerInfo(t, shared)
	return w
}

// patientDouble remembers the write timeout.
type patientDouble struct {
	loopDouble
	writeTimeout time.Duration
}

func (d *patientDouble) SetWriteTimeout(_ netpoll.Handle, to time.Duration) { d.writeTimeout = to }

// TestMeshPeerPatience: a mesh peer that takes nothing is given 30 s, a client 2 s.
func TestMeshPeerPatience(t *testing.T) {
	key := derp.MeshKey(bytes.Repeat([]byte{7}, 32))
	for _, mesh := range []bool{false, true} {
		d := &patientDouble{}
		s := New(Config{Mesh: Mesh{Key: key}, Submit: func(func()) {}})
		l := s.Attach(d, 1).(*loop)
		d.l = l
		h := netpoll.MakeHandle(0, 0, 1)
		d.slots = append(d.slots, doubleSlot{h: h})
		c := l.open(h, netip.AddrPort{})
		l.admitted(c, loggedIn{key: derp.Key{1}}, mesh)
		if got := d.writeTimeout == meshWriteTimeout; got != mesh {
			t.Errorf("mesh %v: a write timeout of %v", mesh, d.writeTimeout)
		}
		s.Close()
	}
}

// TestOwnKeyDoesNotWatch: who logs in with the server's own key is the server itself, by another
// name, and is told nothing that would lead packets in a circle.
func TestOwnKeyDoesNotWatch(t *testing.T) { onEngines(t, testOwnKeyDoesNotWatch) }

func testOwnKeyDoesNotWatch(t *testing.T) {
	key := derp.MeshKey(bytes.Repeat([]byte{7}, 32))
	r := startLive(t, false, Config{Mesh: Mesh{Key: key}})
	self := r.loginMesh(t, 0, key)
	if self.pub != r.Public() {
		t.Fatal("not the server's key")
	}
	ping := [derp.PingLen]byte{1}
	if _, err := self.Write(derp.AppendPing(derp.AppendWatchConns(nil), ping)); err != nil {
		t.Fatal(err)
	}
	self.want(t, derp.AppendPong(nil, ping))
	if n := r.Snapshot().Watchers; n != 0 {
		t.Errorf("%d watchers", n)
	}
}
