package queue

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestAFloodIsItsSendersLoss: one sender fills a queue ten times over, while others send as much as
// their share. Nothing of the others is lost, and of each sender what is left is in order.
func TestAFloodIsItsSendersLoss(t *testing.T) {
	var l Loop
	var q Queue
	const size, flood, others = 1400, 1, 5
	var dropped Drops
	sent := map[uint32][]int{}
	n := 10 * dataBytesMax / size
	for i := range n {
		from := uint32(flood)
		if i%50 == 0 {
			from = uint32(2 + i/50%others)
		}
		d := q.Push(&l, Frame{Data: frame(i, size), From: from})
		dropped.Frames[Data] += d.Frames[Data]
		dropped.Bytes[Data] += d.Bytes[Data]
		sent[from] = append(sent[from], i)
	}
	if want := n - dataBytesMax/size; dropped.Frames[Data] != want ||
		dropped.Bytes[Data] != want*size {
		t.Errorf("dropped %+v, want %d frames", dropped, want)
	}
	got := map[uint32][]int{}
	for f, ok := q.Pop(&l, Data); ok; f, ok = q.Pop(&l, Data) {
		got[f.From] = append(got[f.From], seqOf(f.Data))
	}
	for from, all := range sent {
		want := all
		if from == flood { // the newest of it
			want = all[len(all)-len(got[from]):]
		}
		if !slices.Equal(got[from], want) {
			t.Errorf("of sender %d are left %v, want %v", from, got[from], want)
		}
	}
}

// TestEqualSendersLoseEqually: four senders at the same rate share what the queue holds.
func TestEqualSendersLoseEqually(t *testing.T) {
	var l Loop
	var q Queue
	left := map[uint32]int{}
	for i := range 4000 {
		q.Push(&l, Frame{Data: frame(i, 1400), From: uint32(i % 4)})
	}
	for f, ok := q.Pop(&l, Data); ok; f, ok = q.Pop(&l, Data) {
		left[f.From]++
	}
	for from := range uint32(4) {
		if n := left[from]; n < 70 || n > 117 { // 93 each, and 16 frames between two weighings
			t.Errorf("of sender %d %d frames are left, want about 93: %v", from, n, left)
		}
	}
}

// TestNoticesKeepTheirPlace: a notice is due when the frames before it have left, and not when as
// many others have.
func TestNoticesKeepTheirPlace(t *testing.T) {
	var l Loop
	var q Queue
	const before = 3
	for i := range before {
		q.Push(&l, Frame{Data: frame(i, 1400), From: 9})
	}
	q.PushNotice(&l, l.Blocks.Get(40))
	for i := before; i < 1000; i++ {
		q.Push(&l, Frame{Data: frame(i, 1400), From: 1})
	}
	for i := range before {
		if _, ok := q.PopNotice(&l); ok {
			t.Fatalf("the notice is due with %d frames before it", before-i)
		}
		if f, _ := q.Pop(&l, Data); f.From != 9 || seqOf(f.Data) != i {
			t.Fatalf("got frame %d of sender %d, want %d of 9", seqOf(f.Data), f.From, i)
		}
	}
	if q.Head(Data) != 0 {
		t.Error("a frame behind the notice may go before it")
	}
	if _, ok := q.PopNotice(&l); !ok {
		t.Error("the notice is not due although all before it has gone")
	}
}

// TestTheSearchIsBounded: a frame far behind the head is not looked for.
func TestTheSearchIsBounded(t *testing.T) {
	var l Loop
	var f fifo
	for i := range heavyReach + 100 {
		from := uint32(1)
		if i >= heavyReach+chunkFrames {
			from = 2
		}
		f.push(&l, Frame{Data: frame(i, 37), From: from})
	}
	if at := f.bring(2); at != 0 || seqOf(f.head.frames[f.head.first].Data) != 0 {
		t.Errorf("moved a frame from place %d", at)
	}
}

// TestBringMovesOneFrame checks against a slice: frames of random senders, chunks partly popped.
func TestBringMovesOneFrame(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var l Loop
		var f fifo
		var want []int
		n := 1 + rng.IntN(50)
		for i := range n {
			from := rng.Uint32N(5)
			f.push(&l, Frame{Data: frame(i, 100), From: from})
			want = append(want, i<<8|int(from))
		}
		for range rng.IntN(n) {
			f.pop(&l)
			want = want[1:]
		}
		g := uint8(rng.UintN(5))
		at := slices.IndexFunc(want, func(v int) bool { return v&0xff == int(g) })
		if got := f.bring(g); got != max(at, 0) {
			t.Fatalf("group %d found at %d, in %v", g, got, want)
		}
		if at >= 0 {
			v := want[at]
			want = slices.Insert(slices.Delete(want, at, at+1), 0, v)
		}
		for _, v := range want {
			fr, _ := f.pop(&l)
			if seqOf(fr.Data) != v>>8 {
				t.Fatalf("got %d, want %v", seqOf(fr.Data), want)
			}
		}
	}
}
