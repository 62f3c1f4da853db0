package queue

import (
	"sync/atomic"

	"derpd/relay/block"
)

// Inbox is stage one. The zero value is empty.
type Inbox struct {
	// head is a stack of pushed blocks, newest first. Pushers (any loop) publish a block
	// and its content by compare-and-swap; the owner takes the whole stack by swap.
	head atomic.Pointer[block.Block]
	// bytes reserved, per kind: added by pushers before they copy, taken off by the owner. All
	// pushers together are far from 2 GiB.
	bytes [2]atomic.Int32
}

// Reserve claims room for n bytes of the kind before they are copied. False: the inbox is
// full and the frame is to be dropped.
func (in *Inbox) Reserve(k Kind, n int) bool {
	limit := int32(InboxDataMax)
	if k == Disco {
		limit = InboxDiscoMax
	}
	if in.bytes[k&1].Add(int32(n)) <= limit {
		return true
	}
	in.bytes[k&1].Add(-int32(n))
	return false
}

// Push hands b over, whose bytes have been reserved; at is when it arrived.
func (in *Inbox) Push(k Kind, b *block.Block, at int64) {
	b.Meta = at<<1 | int64(k&1)
	for {
		head := in.head.Load()
		b.SetNext(head)
		if in.head.CompareAndSwap(head, b) {
			return
		}
	}
}

// Take removes everything, oldest first, linked by Next. Only the owner calls it.
func (in *Inbox) Take() *block.Block {
	var first *block.Block
	var bytes [2]int32
	for b := in.head.Swap(nil); b != nil; {
		next := b.Next()
		b.SetNext(first)
		first = b
		bytes[b.Meta&1] += int32(len(b.Buf))
		b = next
	}
	for k, n := range bytes {
		if n != 0 {
			in.bytes[k].Add(-n)
		}
	}
	return first
}

// Meta tells the kind and the arrival time of a block that was pushed.
func Meta(b *block.Block) (k Kind, at int64) { return Kind(b.Meta & 1), b.Meta >> 1 }
