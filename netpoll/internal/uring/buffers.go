package uring

import (
	"os"
	"sync/atomic"
	"unsafe"
)

// bufferGroup is the number of the one group of provided buffers that a ring has.
const bufferGroup = 0

// Buffers are what the kernel receives into: a ring of equal pieces of one arena. A buffer is
// the kernel's until it has filled it (or, where buffers are not incremental, used it once), then
// the owner's until Recycle. All calls come between those of Enter.
type Buffers struct {
	ring    *Ring
	memory  []byte // mapped: the ring of entries, then the arena
	entries []bufEntry
	tail    *uint32 // upper half, written by Recycle: publishes the entries before it
	arena   []byte
	size    int
	filled  []int // by buffer: bytes the kernel has put there
	used    []int // buffers that Recycle gives back
	added   uint16
	taken   uint16 // buffers used up so far: the next entry that the kernel looks at
}

// NewBuffers registers count buffers (a power of two) of size bytes with a ring. incremental
// needs Features.Incremental: the kernel then fills each with one receive after the other.
func NewBuffers(r *Ring, count, size int, incremental bool) (*Buffers, error) {
	page := os.Getpagesize()
	head := (count*int(unsafe.Sizeof(bufEntry{})) + page - 1) &^ (page - 1)
	memory, err := Map(head + count*size)
	if err != nil {
		return nil, err
	}
	b := &Buffers{ring: r, memory: memory, arena: memory[head:], size: size, filled: make([]int, count),
		entries: unsafe.Slice((*bufEntry)(unsafe.Pointer(&memory[0])), count)}
	b.tail = (*uint32)(unsafe.Pointer(&b.entries[0].bid))
	reg := bufReg{ringAddr: address(unsafe.Pointer(&memory[0])), ringEntries: uint32(count),
		bgid: bufferGroup}
	if incremental {
		reg.flags = pbufRingInc
	}
	_, errno := register(r.fd, registerPbufRing, unsafe.Pointer(&reg), 1)
	if errno != 0 {
		Unmap(memory)
		return nil, os.NewSyscallError("io_uring_register(PBUF_RING)", errno)
	}
	for i := range count {
		b.used = append(b.used, i)
	}
	b.Recycle()
	return b, nil
}

// Take returns the bytes of a completion that has used a buffer.
func (b *Buffers) Take(cqe *CQE) []byte {
	id := cqe.Buffer()
	start := b.filled[id]
	n := max(int(cqe.Res), 0)
	b.filled[id] += n
	if cqe.Flags&CQEBufferMore == 0 {
		b.used = append(b.used, id)
		b.taken++
	}
	at := id*b.size + start
	return b.arena[at : at+n : at+n]
}

// Recycle gives all buffers that are used up back to the kernel, which may write to them from
// now on.
func (b *Buffers) Recycle() {
	mask := uint16(len(b.entries) - 1)
	if head := &b.entries[b.taken&mask]; b.taken != b.added && b.filled[head.bid] > 0 &&
		!b.ring.untaken() {
		// The one that the kernel is filling begins anew, so that a quiet loop stays within a
		// part of the arena that the processor has in its cache. The kernel reads and moves
		// address and length in Enter only; but what it put there in an Enter of this turn may
		// still have to be taken.
		b.filled[head.bid] = 0
		head.addr = address(unsafe.Pointer(&b.arena[int(head.bid)*b.size]))
		head.len = uint32(b.size)
	}
	if len(b.used) == 0 {
		return
	}
	for _, id := range b.used {
		e := &b.entries[b.added&mask]
		e.addr = address(unsafe.Pointer(&b.arena[id*b.size]))
		e.len = uint32(b.size)
		e.bid = uint16(id)
		b.filled[id] = 0
		b.added++
	}
	b.used = b.used[:0]
	// Package atomic has no 16-bit stores; the other half is the number of the buffer in entry 0,
	// which only the owner writes.
	both := [2]uint16{b.entries[0].bid, b.added}
	atomic.StoreUint32(b.tail, *(*uint32)(unsafe.Pointer(&both)))
}

// Free is the number of buffers that the kernel has not used up.
func (b *Buffers) Free() int { return len(b.entries) - len(b.used) }

// Close frees the memory. The ring must have been closed, or nothing be receiving.
func (b *Buffers) Close() {
	Unmap(b.memory)
	*b = Buffers{}
}
