package queue

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"unsafe"

	"derpd/relay/block"
)

func frame(seq, size int) []byte {
	b := make([]byte, size)
	binary.BigEndian.PutUint32(b, uint32(seq))
	return b
}

func seqOf(b []byte) int { return int(binary.BigEndian.Uint32(b)) }

func TestQueueKeepsOrderWithinAClass(t *testing.T) {
	var l Loop
	var q Queue
	for i := range 100 {
		if d := q.Push(&l, Frame{Data: frame(i, 100), Kind: Kind(i % 2)}); d.Any() {
			t.Fatalf("frame %d dropped something: %+v", i, d)
		}
	}
	for k := range Kind(2) {
		for i := int(k); i < 100; i += 2 {
			f, ok := q.Pop(&l, k)
			if !ok || seqOf(f.Data) != i {
				t.Fatalf("class %d: got %v %v, want %d", k, f.Data, ok, i)
			}
		}
	}
	if !q.Empty() || q.Bytes() != 0 {
		t.Errorf("not empty after all was popped: %d bytes", q.Bytes())
	}
}

func TestFullQueueDropsTheOldestOfItsClassOnly(t *testing.T) {
	var l Loop
	var q Queue
	q.Push(&l, Frame{Data: frame(7, 100), Kind: Disco})
	const size, n = 1400, dataBytesMax/1400 + 50
	dropped := 0
	for i := range n {
		d := q.Push(&l, Frame{Data: frame(i, size)})
		dropped += d.Frames[Data]
		if d.Frames[Disco] != 0 {
			t.Fatal("data pushed disco out")
		}
	}
	if want := n - dataBytesMax/size; dropped != want {
		t.Fatalf("dropped %d, want %d", dropped, want)
	}
	if f, _ := q.Pop(&l, Data); seqOf(f.Data) != dropped {
		t.Errorf("first left is %d, want %d", seqOf(f.Data), dropped)
	}
}

func TestThirtyTwoOfTheLongestFramesFit(t *testing.T) {
	var l Loop
	var q Queue
	for i := range framesMin {
		if d := q.Push(&l, Frame{Data: frame(i, 65573)}); d.Any() {
			t.Fatalf("frame %d: %+v", i, d)
		}
	}
	if d := q.Push(&l, Frame{Data: frame(99, 65573)}); d.Frames[Data] != 1 {
		t.Errorf("the 33rd dropped %d frames, want 1", d.Frames[Data])
	}
}

func TestExpireDropsWhatIsOld(t *testing.T) {
	var l Loop
	var q Queue
	for i := range 10 {
		q.Push(&l, Frame{Data: frame(i, 50), At: int64(i)})
	}
	d := q.Expire(&l, 4)
	if d.Frames[Data] != 4 || d.Bytes[Data] != 200 {
		t.Fatalf("got %+v", d)
	}
	if f, _ := q.Pop(&l, Data); seqOf(f.Data) != 4 {
		t.Errorf("first left is %d", seqOf(f.Data))
	}
}

func TestOwnCopiesOnlyWhatIsBorrowed(t *testing.T) {
	var l Loop
	var q Queue
	arena := make([]byte, 0, 1<<16)
	next := 0
	for round := range 20 {
		for range round % 4 { // some go out
			f, _ := q.Pop(&l, Data)
			f.Block.Free(&l.Blocks)
		}
		arena = arena[:0]
		for range 5 {
			start := len(arena)
			arena = append(arena, frame(next, 200)...)
			q.Push(&l, Frame{Data: arena[start:]})
			next++
		}
		q.Own(&l)
		for i := range arena { // the turn is over: the arena is used again
			arena[i] = 0xdb
		}
	}
	want := next - q.data.count
	for f, ok := q.Pop(&l, Data); ok; f, ok = q.Pop(&l, Data) {
		if f.Block == nil || seqOf(f.Data) != want {
			t.Fatalf("got %d, want %d (block %v)", seqOf(f.Data), want, f.Block != nil)
		}
		f.Block.Free(&l.Blocks)
		want++
	}
	if l.Held() != 0 || l.Blocks.Lent() != 0 {
		t.Errorf("held %d, lent %d after all went", l.Held(), l.Blocks.Lent())
	}
}

func TestNoticeWaitsForWhatWasQueuedBefore(t *testing.T) {
	var l Loop
	var q Queue
	q.Push(&l, Frame{Data: frame(1, 50)})
	q.Push(&l, Frame{Data: frame(2, 50), Kind: Disco})
	q.PushNotice(&l, l.Blocks.Get(38))
	q.Push(&l, Frame{Data: frame(3, 50)})
	if _, ok := q.PopNotice(&l); ok {
		t.Fatal("notice overtook data and disco")
	}
	q.Pop(&l, Data)
	if _, ok := q.PopNotice(&l); ok {
		t.Fatal("notice overtook disco")
	}
	q.Expire(&l, 1) // a dropped frame counts as gone
	if f, ok := q.PopNotice(&l); !ok || len(f.Data) != 38 {
		t.Fatal("notice is not due though all before it went")
	}
}

func TestClearReturnsEveryBlock(t *testing.T) {
	var l Loop
	var q Queue
	for i := range 40 {
		q.Push(&l, Frame{Data: frame(i, 500), Kind: Kind(i % 2)})
	}
	q.Own(&l)
	q.PushNotice(&l, l.Blocks.Get(38))
	if d := q.Clear(&l); d.Frames != [2]int{20, 20} {
		t.Errorf("cleared %+v", d)
	}
	if !q.Empty() || l.Held() != 0 || l.Blocks.Lent() != 0 {
		t.Errorf("held %d, lent %d", l.Held(), l.Blocks.Lent())
	}
}

func TestBudgetShrinksEachShare(t *testing.T) {
	for _, tc := range []struct{ size, block int }{{1400, 2048}, {37, 256}} {
		l := Loop{Budget: 2 << 20}
		queues := make([]Queue, 10)
		// Every queue may keep framesMin frames, and some as long as shareMin.
		spared := int64(len(queues)) * int64(framesMin+shareMin/tc.size) *
			int64(tc.block+frameMemory)
		for i := range 100_000 {
			q := &queues[i%len(queues)]
			q.Push(&l, Frame{Data: frame(i, tc.size)})
			q.Own(&l)
			if l.Held() > l.Budget+spared {
				t.Fatalf("frames of %d bytes hold %d of a budget of %d", tc.size, l.Held(), l.Budget)
			}
			if l.Held() < l.Blocks.Lent() {
				t.Fatalf("frames of %d bytes have %d bytes of blocks, more than the %d held",
					tc.size, l.Blocks.Lent(), l.Held())
			}
		}
	}
}

func TestQueueDoesNotAllocateOnceWarm(t *testing.T) {
	var l Loop
	var q Queue
	b := frame(1, 1400)
	if n := testing.AllocsPerRun(100, func() {
		for range 100 {
			q.Push(&l, Frame{Data: b})
		}
		q.Own(&l)
		q.Clear(&l)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestChunkFitsItsSizeClass(t *testing.T) {
	if n := unsafe.Sizeof(chunk{}); n > 768 {
		t.Errorf("a chunk has %d bytes, its allocation class 768", n)
	}
}

// What a flood of empty packets took is not kept for ever.
func TestFewChunksAreSpared(t *testing.T) {
	var l Loop
	var q Queue
	for i := range (sparesMax + 100) * chunkFrames {
		q.Push(&l, Frame{Data: frame(i, 4)})
	}
	for !q.Empty() {
		q.Pop(&l, Data)
	}
	n := 0
	for c := l.spare; c != nil; c = c.next {
		n++
	}
	if n != sparesMax || l.spares != n {
		t.Errorf("%d chunks are kept, counted as %d, want %d", n, l.spares, sparesMax)
	}
}

func TestInboxKeepsEachPushersOrder(t *testing.T) {
	var in Inbox
	const pushers, each = 4, 20_000
	var wg sync.WaitGroup
	var refused [pushers]int
	for p := range pushers {
		wg.Go(func() {
			var pool block.Pool
			for i := range each {
				if !in.Reserve(Data, 64) {
					refused[p]++
					continue
				}
				b := pool.Get(64)
				b.Buf[0] = byte(p)
				binary.BigEndian.PutUint32(b.Buf[1:], uint32(i))
				in.Push(Data, b, 5)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var owner block.Pool
	taken, last := 0, [pushers]int{-1, -1, -1, -1}
	drain := func() {
		for b := in.Take(); b != nil; {
			p, i := b.Buf[0], int(binary.BigEndian.Uint32(b.Buf[1:]))
			if i <= last[p] {
				t.Errorf("pusher %d: %d after %d", p, i, last[p])
			}
			last[p] = i
			taken++
			next := b.Next()
			b.Free(&owner)
			b = next
		}
	}
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		drain()
	}
	drain()
	lost := 0
	for _, n := range refused {
		lost += n
	}
	if taken+lost != pushers*each {
		t.Errorf("%d taken + %d refused, want %d", taken, lost, pushers*each)
	}
	if in.bytes[0].Load() != 0 {
		t.Errorf("%d bytes stay reserved", in.bytes[0].Load())
	}
}

func TestInboxRefusesWhatDoesNotFit(t *testing.T) {
	var in Inbox
	var pool block.Pool
	n := 0
	for in.Reserve(Disco, 1000) {
		in.Push(Disco, pool.Get(1000), 0)
		n++
	}
	if n != InboxDiscoMax/1000 {
		t.Errorf("took %d frames", n)
	}
	if !in.Reserve(Data, 1000) {
		t.Error("a full disco inbox refused data")
	}
	in.Take()
	if !in.Reserve(Disco, 1000) {
		t.Error("an emptied inbox refuses")
	}
}

// TestQueueAgainstModel drives a queue at random and compares it with plain slices.
func TestQueueAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var l Loop
	var q Queue
	var model [2][]int
	for i := range 50_000 {
		k := Kind(r.IntN(2))
		switch r.IntN(5) {
		case 0, 1, 2:
			q.Push(&l, Frame{Data: frame(i, 8+r.IntN(40)), Kind: k, At: int64(i)})
			model[k] = append(model[k], i)
		case 3:
			f, ok := q.Pop(&l, k)
			if ok != (len(model[k]) > 0) {
				t.Fatalf("step %d: pop %v, model has %d", i, ok, len(model[k]))
			}
			if ok {
				if seqOf(f.Data) != model[k][0] {
					t.Fatalf("step %d: got %d, want %d", i, seqOf(f.Data), model[k][0])
				}
				f.Block.Free(&l.Blocks)
				model[k] = model[k][1:]
			}
		case 4:
			q.Own(&l)
			if r.IntN(10) == 0 {
				since := i - r.IntN(100)
				q.Expire(&l, int64(since))
				for k := range model {
					for len(model[k]) > 0 && model[k][0] < since {
						model[k] = model[k][1:]
					}
				}
			}
		}
	}
}
