package relay

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"derpd/netpoll"
	"derpd/relay/derp"
)

const (
	hubPeers       = 50_000
	hubPairs       = 20   // of bystanders, who exchange a packet each in every turn
	hubTurnsBefore = 5000 // measured while the hub is there
	hubPeersFew    = 3000
)

// hubScene is a loop with a hub that many have heard from, and bystanders.
type hubScene struct {
	t     testing.TB
	d     *loopDouble
	peers []*doubleClient
	pairs [][2]*doubleClient
	arena []byte // what a turn receives
}

func newHubScene(t testing.TB, peers int) *hubScene {
	_, ds, _ := newDoubles(t, 1, Config{})
	s := &hubScene{t: t, d: ds[0], arena: make([]byte, 0, 2*hubPairs*(packetBytes+128))}
	for n := range hubPairs {
		s.pairs = append(s.pairs, [2]*doubleClient{
			s.d.login(t, 2*n+1, true), s.d.login(t, 2*n+2, true)})
	}
	for n := range peers {
		s.peers = append(s.peers, s.d.login(t, 1_000_000+n, true))
	}
	return s
}

// hub logs a hub in and lets every peer hear from it.
func (s *hubScene) hub() *doubleClient {
	hub := s.d.login(s.t, 0, true)
	packet := testPacket(7)[:100]
	before := s.d.counted().PacketsSent
	for peers := range slices.Chunk(s.peers, 64) {
		for _, p := range peers {
			s.d.l.Received(hub.h, hub.seal(derp.AppendSendPacket(nil, p.key, packet)))
		}
		s.d.l.Flush()
	}
	if n := s.d.counted().PacketsSent - before; n != uint64(len(s.peers)) {
		s.t.Fatalf("the hub reached %d of %d", n, len(s.peers))
	}
	return hub
}

// spent is what a turn took: on the clock, and of this thread's CPU, which a busy machine
// does not distort.
type spent struct{ wall, cpu time.Duration }

// turn lets every pair exchange a packet each way.
func (s *hubScene) turn() spent {
	arena := s.arena[:0]
	type piece struct {
		h    netpoll.Handle
		b, e int
	}
	var pieces [2 * hubPairs]piece
	packet := testPacket(5)
	for i := range pieces {
		from, to := s.pairs[i/2][i%2], s.pairs[i/2][1-i%2]
		start := len(arena)
		arena = from.tls.SealStart(arena)
		arena = derp.AppendSendPacket(arena, to.key, packet)
		arena = from.tls.SealFinish(arena, start)
		pieces[i] = piece{from.h, start, len(arena)}
	}
	sent := s.d.counted().PacketsSent
	cpu, wall := threadTime(), time.Now()
	s.d.begin()
	for _, p := range pieces {
		s.d.l.Received(p.h, arena[p.b:p.e:p.e])
	}
	s.d.end()
	took := spent{time.Since(wall), threadTime() - cpu}
	if n := s.d.counted().PacketsSent - sent; n != 2*hubPairs {
		s.t.Fatalf("%d packets of bystanders were delivered in a turn, want %d", n, 2*hubPairs)
	}
	return took
}

func threadTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

// p99 of wall and CPU times, each for itself.
func p99(turns []spent) spent {
	at := func(get func(spent) time.Duration) time.Duration {
		all := make([]time.Duration, len(turns))
		for i, s := range turns {
			all[i] = get(s)
		}
		slices.Sort(all)
		return all[len(all)*99/100]
	}
	return spent{at(func(s spent) time.Duration { return s.wall }),
		at(func(s spent) time.Duration { return s.cpu })}
}

// leave closes the hub and runs turns until everyone who heard from it has been told.
// It checks the work of each turn.
func (s *hubScene) leave(hub *doubleClient) (turns []spent) {
	before := s.d.counted().GoneDisconnected
	s.d.l.Received(hub.h, nil) // FIN
	s.d.l.Flush()
	s.d.l.Closed(hub.h, nil)
	want := before + uint64(len(s.peers))
	for told := before; told < want; told = s.d.counted().GoneDisconnected {
		turns = append(turns, s.turn())
		if n := s.d.counted().GoneDisconnected - told; n > goneSlice {
			s.t.Fatalf("%d notices in one turn, at most %d", n, goneSlice)
		} else if n == 0 {
			s.t.Fatalf("no notice in a turn, %d of %d told", told-before, want-before)
		}
	}
	return turns
}

// measure compares the turns before and while a hub leaves.
func (s *hubScene) measure() (before, leaving spent) {
	hub := s.hub()
	runtime.GC() // what the preparation left is not the turns' business
	turns := make([]spent, hubTurnsBefore)
	for i := range turns {
		turns[i] = s.turn()
	}
	return p99(turns), p99(s.leave(hub))
}

func (a spent) ratios(b spent) (wall, cpu float64) {
	return float64(a.wall) / float64(b.wall), float64(a.cpu) / float64(b.cpu)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// TestHubLeaves: a hub that thousands of keys have heard from leaves, and is told of in equal
// slices. Without the race detector it is a measurement too, of 50,000 keys: "go test -run
// HubLeaves -v ./relay" prints the p99 of everyone else's turn before and meanwhile, and asserts
// nothing of it, since times are the machine's.
func TestHubLeaves(t *testing.T) {
	small := newHubScene(t, hubPeersFew)
	if n := len(small.leave(small.hub())); n != (hubPeersFew+goneSlice-1)/goneSlice {
		t.Errorf("%d turns for %d notices", n, hubPeersFew)
	}
	if raceEnabled || !testing.Verbose() || os.Getenv("TEST_EMULATED") != "" { // make test-arm64
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.LockOSThread() // threadTime
	defer runtime.UnlockOSThread()
	s := newHubScene(t, hubPeers)
	s.leave(s.hub()) // warms up: pools, the notices' first chunks
	var walls, cpus []float64
	for range 3 {
		before, leaving := s.measure()
		wall, cpu := leaving.ratios(before)
		t.Logf("p99 of a turn: %v before, %v while the hub leaves (%.2f); of its CPU time "+
			"%v and %v (%.2f)", before.wall, leaving.wall, wall, before.cpu, leaving.cpu, cpu)
		walls, cpus = append(walls, wall), append(cpus, cpu)
	}
	t.Logf("median ratio %.2f, of CPU time %.2f", median(walls), median(cpus))
}

// BenchmarkHubLeaves reports the two p99 and their ratio; one op is one departure.
func BenchmarkHubLeaves(b *testing.B) {
	s := newHubScene(b, hubPeers)
	s.leave(s.hub())
	var walls []float64
	var last [2]spent
	for b.Loop() {
		last[0], last[1] = s.measure()
		wall, _ := last[1].ratios(last[0])
		walls = append(walls, wall)
	}
	b.ReportMetric(float64(last[0].wall.Nanoseconds()), "p99-before-ns")
	b.ReportMetric(float64(last[1].wall.Nanoseconds()), "p99-leaving-ns")
	b.ReportMetric(median(walls), "ratio")
}

// TestLeaveIsConstantWork: the turn in which a hub ends does not depend on how many have
// heard from it: the set of them is handed on, not copied.
func TestLeaveIsConstantWork(t *testing.T) {
	var bytesOf [2]uint64
	for i, peers := range []int{16, 3000} {
		s := newHubScene(t, peers)
		hub := s.hub()
		set := (*s.d.l.at(hub.h).client.reached)[0]
		if set.n != peers {
			t.Fatalf("the hub has reached %d, want %d", set.n, peers)
		}
		var a, b runtime.MemStats
		runtime.ReadMemStats(&a)
		s.d.l.end(s.d.l.at(hub.h), EndPeerClosed)
		runtime.ReadMemStats(&b)
		bytesOf[i] = b.TotalAlloc - a.TotalAlloc
		if len(s.d.l.gone) != 1 || &s.d.l.gone[0].set.slots[0] != &set.slots[0] {
			t.Errorf("%d peers: the set of those to be told was copied", peers)
		}
		if n := s.d.counted().GoneDisconnected; n != 0 {
			t.Errorf("%d notices were queued by the end itself", n)
		}
	}
	if bytesOf[1] > bytesOf[0]+1024 {
		t.Errorf("ending allocates %d bytes with 16 peers and %d with 3000", bytesOf[0], bytesOf[1])
	}
}

// TestEachHearsOnce: everyone who got a packet of a key that leaves, and nobody else, is
// told once, on whatever loop.
func TestEachHearsOnce(t *testing.T) {
	_, ds, _ := newDoubles(t, 2, Config{})
	hub := ds[0].login(t, 0, true)
	var heard, deaf [2]*doubleClient
	for i, d := range ds {
		heard[i], deaf[i] = d.login(t, 10+i, true), d.login(t, 20+i, true)
		d.keep = true
	}
	// A blocked peer gets the notice behind the packet that waits for it.
	packet := derp.AppendRecvPacket(nil, hub.key, []byte("last words"))
	for _, cl := range heard {
		cl.d.slots[cl.h.Slot()].blocked = true
		for range 2 {
			sameLoop(hub, nil, [][]byte{hub.seal(
				derp.AppendSendPacket(nil, cl.key, []byte("last words")))})
			settle(ds)
		}
	}
	ds[0].l.Received(hub.h, nil)
	ds[0].l.Flush()
	ds[0].l.Closed(hub.h, nil)
	settle(ds)
	ds[0].take() // the hub's close_notify
	gone := derp.AppendPeerGone(nil, hub.key, derp.GoneDisconnected)
	for i, cl := range heard {
		cl.d.unblock(cl.h)
		cl.d.l.Flush()
		got := cl.open(t, cl.d.take())
		if want := slices.Concat(packet, packet, gone); !bytes.Equal(got, want) {
			t.Errorf("loop %d: got %x\nwant %x", i, got, want)
		}
		if n := ds[i].counted().GoneDisconnected; n != 1 {
			t.Errorf("loop %d: %d notices, want 1", i, n)
		}
		if deaf[i].open(t, ds[i].take()) != nil {
			t.Errorf("loop %d: one who never heard from the key was told", i)
		}
	}
}

func settle(ds []*loopDouble) {
	for slices.ContainsFunc(ds, func(d *loopDouble) bool { return d.woken || len(d.posted) > 0 }) {
		for _, d := range ds {
			d.settle()
		}
	}
}

// TestInheritMergesTheSmaller: of two connections of one key the older, which has reached
// many, closes. The other, which has reached few, takes its set over; nobody is told, and
// nothing of the large set is copied.
func TestInheritMergesTheSmaller(t *testing.T) {
	for _, first := range []int{0, 1} { // which of the two closes
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			s := newHubScene(t, 300)
			hubs := [2]*doubleClient{s.hub(), nil}
			hubs[1] = s.d.login(t, 0, true)
			extra := s.d.login(t, 7, true)
			sameLoop(hubs[1], nil, [][]byte{hubs[1].seal(
				derp.AppendSendPacket(nil, extra.key, nil))})
			large := (*s.d.l.at(hubs[0].h).client.reached)[0].slots
			leave := func(h netpoll.Handle) {
				s.d.l.end(s.d.l.at(h), EndPeerClosed)
				s.d.l.Closed(h, nil)
				s.d.settle()
			}
			leave(hubs[first].h)
			got := (*s.d.l.at(hubs[1-first].h).client.reached)[0]
			if &got.slots[0] != &large[0] || got.n != 301 {
				t.Errorf("the survivor remembers %d peers, copied: %v; want 301, not copied",
					got.n, &got.slots[0] != &large[0])
			}
			if n := s.d.counted().GoneDisconnected; n != 0 {
				t.Errorf("%d were told though the key is still here", n)
			}
			leave(hubs[1-first].h)
			if n := s.d.counted().GoneDisconnected; n != 301 {
				t.Errorf("%d were told, want 301", n)
			}
		})
	}
}
