package netpoll

import "derpd/netpoll/internal/uring"

// copies is the memory that sends are copied to: chunks of a few sizes, from slabs outside of
// Go's heap that are kept until the loop ends. The chunk freed last is given out first, while it
// is in the processor's cache.
type copies struct {
	free  [len(chunkBytes)][][]byte
	slabs [][]byte
}

// chunkBytes are the sizes: of one packet, of a few, of a turn's share for one destination.
var chunkBytes = [...]int{2 << 10, 8 << 10, sendCopyMax}

// get lends a chunk that holds n bytes, or gives nil if none is to be had.
func (m *copies) get(n int) []byte {
	for class, size := range chunkBytes {
		if n > size {
			continue
		}
		free := m.free[class]
		if len(free) == 0 {
			if !m.grow(class) {
				return nil
			}
			free = m.free[class]
		}
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
	if len(m.slabs)*sendSlabBytes >= sendBytesMax {
		return false
	}
	slab, err := uring.Map(sendSlabBytes)
	if err != nil {
		return false // sends are made from the handler's memory then
	}
	m.slabs = append(m.slabs, slab)
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
