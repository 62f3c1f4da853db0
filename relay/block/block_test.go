package block

import (
	"bytes"
	"sync"
	"testing"
)

func TestGetGivesLengthAndClass(t *testing.T) {
	var p Pool
	for _, tc := range []struct{ n, capacity int }{
		{0, 256}, {1, 256}, {256, 256}, {257, 512}, {1437, 2048}, {16384, 16384},
		{65573, 131072}, {256<<10 + 5, 512 << 10}, {MaxBytes, MaxBytes},
	} {
		b := p.Get(tc.n)
		if len(b.Buf) != tc.n || cap(b.Buf) != tc.capacity {
			t.Errorf("Get(%d): len %d cap %d, want cap %d", tc.n, len(b.Buf), cap(b.Buf), tc.capacity)
		}
		b.Free(&p)
	}
	if p.Lent() != 0 {
		t.Errorf("lent %d bytes after all were freed", p.Lent())
	}
}

func TestFreedBlockIsReused(t *testing.T) {
	var p Pool
	b := p.Get(1000)
	b.Free(&p)
	if again := p.Get(900); again != b {
		t.Error("a freed block of the class was not lent again")
	}
	if n := testing.AllocsPerRun(100, func() { p.Get(5000).Free(&p) }); n != 0 {
		t.Errorf("%v allocations for Get and Free", n)
	}
}

func TestBlocksComeHomeFromOtherLoops(t *testing.T) {
	var home Pool
	const n = 1000
	blocks := make([]*Block, n)
	for i := range blocks {
		blocks[i] = home.Get(300)
	}
	var wg sync.WaitGroup
	for part := range 4 {
		wg.Go(func() {
			var away Pool
			for i := part; i < n; i += 4 {
				blocks[i].Free(&away)
			}
		})
	}
	wg.Wait()
	if home.Lent() != 0 {
		t.Fatalf("%d bytes did not come home", home.Lent())
	}
	seen := map[*Block]bool{}
	for range n {
		b := home.Get(300)
		if seen[b] {
			t.Fatal("one block was lent twice")
		}
		seen[b] = true
	}
}

func TestGrowKeepsContent(t *testing.T) {
	var p Pool
	b := p.Grow(nil, 10)
	b.Buf = append(b.Buf, "frame"...)
	b = p.Grow(b, 4000)
	if !bytes.Equal(b.Buf, []byte("frame")) || cap(b.Buf) < 4000 {
		t.Errorf("got %q with capacity %d", b.Buf, cap(b.Buf))
	}
}

func TestAPoolKeepsOnlyABoundedRest(t *testing.T) {
	var p Pool
	blocks := make([]*Block, 3*keepBytes/MaxBytes)
	for i := range blocks {
		blocks[i] = p.Get(MaxBytes)
	}
	for _, b := range blocks {
		b.Free(&p)
	}
	if got := p.kept[classes-1] * MaxBytes; got != keepBytes {
		t.Errorf("kept %d bytes, want %d", got, keepBytes)
	}
}
