package fakepoll_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"derpd/netpoll"
	"derpd/netpoll/fakepoll"
	"derpd/netpoll/looptest"
)

// rig plays the scenes of looptest in a world.
type rig struct {
	w     *fakepoll.World
	loop  *fakepoll.Loop
	dials int
	peers []*fakepoll.Peer
}

// far is a peer with the buffers of a socket.
type far struct{ *fakepoll.Peer }

// Closed implements looptest.Far.
func (f far) Closed() bool { return f.Peer.Closed() && f.Buffered() == 0 }

// newRig makes a world whose resets and failed connects are the scenes' own.
func newRig(t *testing.T, seed uint64, f fakepoll.Faults) looptest.Rig {
	f.Reset, f.ConnectFail = 0, 0
	w := fakepoll.New(seed, f)
	r := &rig{w: w, loop: w.Loop(1, 32<<10)}
	t.Cleanup(func() {
		for _, v := range w.Violations() {
			if !strings.Contains(v, "while another is in flight") {
				t.Errorf("seed %d: %s", seed, v)
			}
		}
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return r
}

func (r *rig) Loop() netpoll.Loop { return r.loop }

func (r *rig) Start(h netpoll.Handler) { r.w.Attach(r.loop, h) }

func (r *rig) Dial() looptest.Far {
	r.dials++
	p := r.w.Dial(r.loop, 0, addr(r.dials))
	p.SetWindow(64 << 10)
	return far{p}
}

func (r *rig) Serve() (netip.AddrPort, func() looptest.Far) {
	at := netip.MustParseAddrPort("203.0.113.5:443")
	r.w.Serve(at, func(p *fakepoll.Peer) { r.peers = append(r.peers, p) })
	return at, func() looptest.Far {
		if len(r.peers) == 0 {
			return nil
		}
		p := r.peers[0]
		r.peers = r.peers[1:]
		return far{p}
	}
}

func (r *rig) Refuse() netip.AddrPort { return netip.MustParseAddrPort("203.0.113.6:443") }

func (r *rig) Plenty() int { return 200 << 10 }

func (r *rig) Rest() {
	if !r.w.Step() {
		r.w.Advance(time.Millisecond)
	}
}

func (r *rig) Clock() time.Duration { return r.w.Now() }

func (r *rig) Ended() bool {
	return r.w.RunUntil(func() bool { return !r.loop.Post(func() {}) }, 1000)
}

func TestContract(t *testing.T) {
	t.Run("calm", func(t *testing.T) {
		looptest.TestContract(t, func(t *testing.T) looptest.Rig {
			return newRig(t, 1, fakepoll.None())
		})
	})
	t.Run("storm", func(t *testing.T) {
		for seed := range uint64(5) {
			looptest.TestContract(t, func(t *testing.T) looptest.Rig {
				return newRig(t, seed, fakepoll.DefaultFaults())
			})
		}
	})
}
