package stunload

import (
	"encoding/binary"
	"math/bits"

	"derpd/stun"
)

// entry is a request that was sent.
type entry struct {
	seq    uint64
	due    int64 // ns from the start of the run
	socket int32
	state  state
}

type state uint8

const (
	stateNone     state = iota
	stateAsked          // waits for its answer
	stateGivenUp        // makes no room any more; its answer still counts
	stateAnswered       // another answer is one too many
)

// table is what was asked lately: a ring by number. A request is forgotten when as many later ones
// were sent as it has entries.
type table struct {
	entries []entry // a power of two
}

// newTable makes a table for at least n requests.
func newTable(n int) table {
	n = min(max(n, tableEntriesMin), tableEntriesMax)
	return table{make([]entry, 1<<bits.Len(uint(n-1)))}
}

func (t *table) at(seq uint64) *entry { return &t.entries[seq&uint64(len(t.entries)-1)] }

// put enters a request; forgotten says that another was waiting for its answer in its place.
func (t *table) put(seq uint64, due int64, socket int32) (forgotten bool) {
	e := t.at(seq)
	forgotten = e.state == stateAsked
	*e = entry{seq, due, socket, stateAsked}
	return forgotten
}

// get returns the entry of a request, or nil if it was forgotten.
func (t *table) get(seq uint64) *entry {
	if e := t.at(seq); e.state != stateNone && e.seq == seq {
		return e
	}
	return nil
}

// transaction names a request: its number, and a mark by which an answer of ours is known.
func transaction(seq, seed uint64) (id [stun.TransactionLen]byte) {
	binary.BigEndian.PutUint64(id[:], seq)
	binary.BigEndian.PutUint32(id[8:], mark(seq, seed))
	return id
}

// sequence reads the number of a transaction; false: it is none of ours.
func sequence(id [stun.TransactionLen]byte, seed uint64) (seq uint64, ok bool) {
	seq = binary.BigEndian.Uint64(id[:])
	return seq, binary.BigEndian.Uint32(id[8:]) == mark(seq, seed)
}

// mark is 32 bits of a product of number and seed: against accidents, not against forgers.
func mark(seq, seed uint64) uint32 {
	high, low := bits.Mul64(seq^0x9e3779b97f4a7c15, (seed^0xbf58476d1ce4e5b9)|1)
	return uint32((high ^ low) >> 16)
}
