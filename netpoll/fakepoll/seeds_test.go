package fakepoll_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"derpd/netpoll/fakepoll"
)

var seeds = flag.Uint64("seeds", 80, "how many seeds TestEchoUnderManySeeds plays")

// client is a peer of the seed tests with what it wrote and read.
type client struct {
	*fakepoll.Peer
	wrote, read []byte
	fin         bool
	frozen      bool
	spoiled     bool // ended by Reset, of any side
}

// act does one random thing.
func (c *client) act(r *rand.Rand) {
	switch r.IntN(20) {
	case 0:
		c.frozen = !c.frozen
		c.Freeze(c.frozen)
	case 1:
		c.SetWindow(r.IntN(6000))
	case 2:
		if r.IntN(10) == 0 {
			c.fin = true
			c.CloseWrite()
		}
	case 3:
		if r.IntN(20) == 0 {
			c.spoiled = true
			c.Reset()
		}
	case 4, 5, 6, 7, 8:
		if !c.fin {
			b := make([]byte, 1+r.IntN(1+r.IntN(3000)))
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			c.wrote = append(c.wrote, b...)
			c.Write(b)
		}
	default:
		c.read = append(c.read, c.Read(1+r.IntN(4000))...)
	}
}

// drain lets everything come to an end.
func (c *client) drain() {
	c.frozen = false
	c.Freeze(false)
	c.SetWindow(-1)
	if !c.fin {
		c.fin = true
		c.CloseWrite()
	}
}

// verify checks the stream and the account of bytes.
func (c *client) verify(s *stage) error {
	if !bytes.HasPrefix(c.wrote, c.read) {
		return fmt.Errorf("peer %v: what it read is no prefix of what it wrote", c.Remote())
	}
	if !c.Accepted() || !c.Closed() {
		return fmt.Errorf("peer %v: accepted %t, closed %t", c.Remote(), c.Accepted(), c.Closed())
	}
	if got := len(c.read) + c.LostInFlight(); got != s.echo.taken[c.Handle()] {
		return fmt.Errorf("peer %v: read or lost %d bytes, the kernel took %d",
			c.Remote(), got, s.echo.taken[c.Handle()])
	}
	err, told := s.echo.errs[c.Handle()]
	switch {
	case !told:
		return fmt.Errorf("peer %v: no Closed", c.Remote())
	case err == nil && !c.WasReset() && len(c.read) != len(c.wrote):
		return fmt.Errorf("peer %v: closed in order after %d of %d bytes", c.Remote(), len(c.read),
			len(c.wrote))
	case err != nil && !c.WasReset():
		return fmt.Errorf("peer %v: Closed told %v, but nobody reset it", c.Remote(), err)
	}
	return nil
}

// runSeed plays one seed and returns the world's trace.
func runSeed(t *testing.T, seed uint64, f fakepoll.Faults, steps int) uint64 {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	s := newStage(t, seed, f, 1+r.IntN(1+r.IntN(64<<10)))
	var clients []*client
	for range steps {
		if len(clients) < 4+int(seed%5) && r.IntN(20) == 0 {
			p := s.w.Dial(s.loop, 0, addr(len(clients)))
			clients = append(clients, &client{Peer: p})
		}
		if n := len(clients); n > 0 {
			clients[r.IntN(n)].act(r)
		}
		s.w.Step()
	}
	for _, c := range clients {
		c.drain()
	}
	over := func() bool {
		for _, c := range clients {
			c.read = append(c.read, c.Read(1<<20)...)
		}
		return s.check.Open() == 0 && !s.check.Waiting() &&
			s.w.Stats(s.loop).Accepts == uint64(len(clients))
	}
	if !s.w.RunUntil(over, 200_000) {
		t.Fatalf("seed %d: %d connections never ended", seed, s.check.Open())
	}
	s.finish(t, seed)
	for _, c := range clients {
		if err := c.verify(s); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	return s.w.Trace()
}

func TestEchoUnderManySeeds(t *testing.T) {
	traces := make(map[uint64]uint64)
	for seed := range *seeds {
		f := fakepoll.DefaultFaults()
		if seed%3 == 0 {
			f.Reset = 0
		}
		trace := runSeed(t, seed, f, 2000)
		if other, ok := traces[trace]; ok {
			t.Errorf("seeds %d and %d have the same trace", seed, other)
		}
		traces[trace] = seed
		if t.Failed() {
			t.FailNow()
		}
	}
}

func TestEchoInCalm(t *testing.T) {
	for seed := range uint64(10) {
		runSeed(t, seed, fakepoll.None(), 1000)
	}
}

// Every fault at certainty must still let the world go on.
func TestEchoWithCertainFaults(t *testing.T) {
	for name, f := range map[string]fakepoll.Faults{
		"short":    {ShortRead: 1, ShortSend: 1, SmallArena: 1, LatePause: 1},
		"blocked":  {SendBlock: 1, DelayedSent: 1, SplitClose: 1},
		"disorder": {ReorderReady: 1, SpuriousWake: 1, AcceptDelay: 1, AcceptFail: 1, RudeClose: 1},
		"resets":   {Reset: 1},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(3) {
				runSeed(t, seed, f, 1000)
			}
		})
	}
}

func TestSameSeedSameTrace(t *testing.T) {
	for seed := range uint64(5) {
		f := fakepoll.DefaultFaults()
		if a, b := runSeed(t, seed, f, 1500), runSeed(t, seed, f, 1500); a != b {
			t.Errorf("seed %d: traces %#x and %#x", seed, a, b)
		}
	}
}

func BenchmarkSeed(b *testing.B) {
	steps := uint64(0)
	for i := range b.N {
		w := fakepoll.New(uint64(i), fakepoll.DefaultFaults())
		l := w.Loop(0, 64<<10)
		e := newEcho(l)
		w.Attach(l, e)
		peers := make([]*fakepoll.Peer, 50)
		for j := range peers {
			peers[j] = w.Dial(l, 0, addr(j))
		}
		chunk := make([]byte, 1400)
		for range 5000 {
			peers[w.Rand().IntN(len(peers))].Write(chunk)
			w.Step()
			for _, p := range w.News() {
				p.Read(1 << 20)
			}
			steps++
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(steps), "ns/step")
}
