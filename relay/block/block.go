package block

import (
	"math/bits"
	"sync/atomic"
)

// Sizes of the classes: powers of two from 256 B to 512 KiB. The smallest holds a disco
// frame, the largest the longest ClientInfo (256 KiB and what may follow it).
const (
	minShift = 8
	maxShift = 19
	classes  = maxShift - minShift + 1

	// MaxBytes is the largest block a pool lends.
	MaxBytes = 1 << maxShift

	// keepBytes is how much of each class a pool keeps for reuse. What a burst needed
	// beyond it goes back to the collector. 2 MiB a class is one full turn of a busy loop. Of the
	// class that packets wait in it is more: the queues of sixteen destinations that are slow at
	// times, which would be allocated anew each time they fill.
	keepBytes       = 2 << 20
	keepPacketBytes = 8 << 20
	packetClass     = 11 - minShift // 2 KiB: one packet of an ordinary link
)

// keep is how many free blocks of a class a pool keeps.
func keep(c uint8) int {
	if c == packetClass {
		return keepPacketBytes >> (packetClass + minShift)
	}
	return max(1, keepBytes>>(c+minShift))
}

// Block is a buffer on loan. Buf has the length that was asked for and the capacity of
// its class.
type Block struct {
	Buf  []byte
	Meta int64  // the holder's own word
	home *Pool  // the pool it returns to
	next *Block // link in a free list, or free for the holder's own lists (see Next)
	cls  uint8
}

// Next links blocks into a list of the holder's own while they are on loan.
func (b *Block) Next() *Block { return b.next }

// SetNext sets the holder's link.
func (b *Block) SetNext(n *Block) { b.next = n }

// Pool lends blocks to one loop.
type Pool struct {
	free [classes]*Block
	kept [classes]int // blocks in free

	// remote holds blocks freed by other loops: pushed by any, taken whole by the owner,
	// so there is no ABA problem. It publishes the block's content only to be reused.
	remote atomic.Pointer[Block]

	lent int64 // bytes of class capacity on loan, as far as the owner has heard
}

func class(n int) int {
	if n <= 1<<minShift {
		return 0
	}
	return bits.Len(uint(n-1)) - minShift
}

// Get lends a block of n bytes, 0 ≤ n ≤ MaxBytes. Only the owner calls it.
func (p *Pool) Get(n int) *Block {
	c := class(n)
	b := p.free[c]
	if b == nil && p.remote.Load() != nil {
		p.reclaim()
		b = p.free[c]
	}
	p.lent += 1 << (c + minShift)
	if b == nil {
		return &Block{Buf: make([]byte, n, 1<<(c+minShift)), home: p, cls: uint8(c)}
	}
	p.free[c] = b.next
	p.kept[c]--
	b.next = nil
	b.Buf = b.Buf[:n]
	return b
}

// Free gives a block back; by is the caller's own pool. nil blocks are ignored.
func (b *Block) Free(by *Pool) {
	switch {
	case b == nil:
	case b.home == by:
		by.put(b)
	default:
		for {
			head := b.home.remote.Load()
			b.next = head
			if b.home.remote.CompareAndSwap(head, b) {
				return
			}
		}
	}
}

func (p *Pool) put(b *Block) {
	c := b.cls
	p.lent -= 1 << (c + minShift)
	if p.kept[c] >= keep(c) {
		b.next = nil
		return
	}
	b.next = p.free[c]
	p.free[c] = b
	p.kept[c]++
}

// reclaim takes back what other loops have freed.
func (p *Pool) reclaim() {
	for b := p.remote.Swap(nil); b != nil; {
		next := b.next
		p.put(b)
		b = next
	}
}

// Lent returns the bytes on loan, after hearing what other loops gave back.
func (p *Pool) Lent() int64 {
	p.reclaim()
	return p.lent
}

// Grow returns a block that begins with the content of b and has room for capacity n; b
// itself if it is large enough. The length stays as it was.
func (p *Pool) Grow(b *Block, n int) *Block {
	if b == nil {
		b = p.Get(n)
		b.Buf = b.Buf[:0]
		return b
	}
	if cap(b.Buf) >= n {
		return b
	}
	g := p.Get(n)
	g.Buf = append(g.Buf[:0], b.Buf...)
	b.Free(p)
	return g
}
