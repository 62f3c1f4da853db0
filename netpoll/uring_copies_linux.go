package netpoll

import "derpd/netpoll/internal/uring"

// copies is the memory that sends are copied to: chunks of a few sizes, from slabs outside of
// Go's heap that are kept until the loop ends. The chunk freed last is given out first, while it
// is in the processor's cache.
type copies struct {
	free  [len(chunkBytes)][][]byte
	cut   [len(chunkBytes)]int // slabs, by the size that they were cut to
	slabs [][]byte
}

// chunkBytes are the sizes: of one packet, of a few, of a turn's share for one destination. Of the
// slabs each may have chunkSlabs, all that there are together: a peak of one size must not take the
// others' for good.
var (
	chunkBytes = [...]int{2 << 10, 8 << 10, sendCopyMax}
	chunkSlabs = [len(chunkBytes)]int{6, 4, sendBytesMax/sendSlabBytes - 6 - 4}
)

// get lends a chunk that holds n bytes, a larger one if those of that size are lent, or gives nil
// if none is to be had.
func (m *copies) get(n int) []byte {
	for class, size := range chunkBytes {
		if n > size || len(m.free[class]) == 0 && !m.grow(class) {
			continue
		}
		free := m.free[class]
		last := len(free) - 1
		chunk := free[last]
		m.free[class] = free[:last]
		return chunk
	}
	return nil
}

// put takes a chunk back.
func (m *copies) put(chunk []byte) {
	for class, size := range chunkBytes {
		if len(chunk) == size {
			m.free[class] = append(m.free[class], chunk)
			return
		}
	}
}

// grow cuts another slab.
func (m *copies) grow(class int) bool {
	if m.cut[class] == chunkSlabs[class] {
		return false
	}
	slab, err := uring.Map(sendSlabBytes)
	if err != nil {
		return false // sends are made from the handler's memory then
	}
	m.slabs = append(m.slabs, slab)
	m.cut[class]++
	size := chunkBytes[class]
	for at := sendSlabBytes - size; at >= 0; at -= size {
		m.free[class] = append(m.free[class], slab[at:at+size:at+size])
	}
	return true
}

func (m *copies) close() {
	for _, slab := range m.slabs {
		uring.Unmap(slab)
	}
	*m = copies{}
}
