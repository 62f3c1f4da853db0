package netpoll

import "testing"

// TestCopiesOfOneSizeLeaveOthers: when all chunks of a size are lent, larger ones serve, and however
// many of one size were wanted at once, there are some of the others.
func TestCopiesOfOneSizeLeaveOthers(t *testing.T) {
	for class, size := range chunkBytes {
		var m copies
		var lent [][]byte
		for chunk := m.get(size); chunk != nil; chunk = m.get(size) {
			lent = append(lent, chunk)
		}
		want := 0
		for c, s := range chunkBytes {
			if c >= class {
				want += chunkSlabs[c] * (sendSlabBytes / s)
			}
		}
		if len(lent) != want {
			t.Errorf("%d chunks of %d bytes at once, want %d", len(lent), size, want)
		}
		for _, chunk := range lent {
			m.put(chunk)
		}
		for _, other := range chunkBytes {
			if chunk := m.get(other); len(chunk) != other {
				t.Errorf("after a peak of %d bytes there is none of %d", size, other)
			}
		}
		if n := len(m.slabs) * sendSlabBytes; n > sendBytesMax {
			t.Errorf("%d bytes of slabs, more than %d", n, sendBytesMax)
		}
		m.close()
	}
}
