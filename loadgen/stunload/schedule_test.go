package stunload

import (
	"testing"

	"derpd/loadgen"
	"derpd/loadgen/arrival"
)

// The heap yields the times of all sources in their order, none lost.
func TestScheduleMerges(t *testing.T) {
	for _, sockets := range []int{1, 2, 3, 10, 63} {
		a := loadgen.Arrival{Kind: loadgen.Poisson}
		s := newSchedule(a, 1000, sockets, 4)
		alone := make([]arrival.Source, sockets)
		for i := range alone {
			alone[i] = arrival.New(a, 1000/float64(sockets), i, sockets, 4)
		}
		var last int64
		for n := range 2000 {
			due := s.due()
			socket := s.take()
			if due < last || due != alone[socket].Due() {
				t.Fatalf("%d sockets, request %d: %d after %d, its socket's is due at %d",
					sockets, n, due, last, alone[socket].Due())
			}
			alone[socket].Advance()
			last = due
		}
		for i := range alone {
			if alone[i].Due() < last {
				t.Errorf("%d sockets: socket %d was passed over", sockets, i)
			}
		}
	}
}

func TestTable(t *testing.T) {
	table := newTable(1)
	if len(table.entries) != tableEntriesMin || len(newTable(1<<30).entries) != tableEntriesMax ||
		len(newTable(tableEntriesMin+1).entries) != 2*tableEntriesMin {
		t.Error("the sizes are wrong")
	}
	if table.get(0) != nil {
		t.Error("an empty table has number 0")
	}
	if table.put(7, 70, 1) || table.get(7) == nil || table.get(7).due != 70 {
		t.Error("7 is not there")
	}
	next := uint64(7 + tableEntriesMin)
	if table.get(next) != nil {
		t.Error("a number of the same place is taken for 7")
	}
	if !table.put(next, 1, 1) || table.get(7) != nil {
		t.Error("7 is not forgotten")
	}
	table.get(next).state = stateAnswered
	if table.put(7, 1, 1) {
		t.Error("an answered request counts as forgotten")
	}
}

func TestTransaction(t *testing.T) {
	for seq := range uint64(1000) {
		id := transaction(seq, 5)
		if got, ok := sequence(id, 5); got != seq || !ok {
			t.Fatalf("%d: %d, %v", seq, got, ok)
		}
		if _, ok := sequence(id, 1000); ok {
			t.Errorf("%d: another seed's is ours", seq)
		}
		for bit := range len(id) * 8 {
			id[bit/8] ^= 1 << (bit % 8)
			if _, ok := sequence(id, 5); ok {
				t.Fatalf("%d: bit %d does not matter", seq, bit)
			}
			id[bit/8] ^= 1 << (bit % 8)
		}
	}
}
