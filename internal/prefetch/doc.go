// Package prefetch asks the processor to bring memory into its caches before it is read, without
// waiting for it. What a relay needs for a packet lies in a dozen places that hang on each other by
// pointers, and among thousands of clients none of them is in a cache: read one after the other,
// each is waited for.
//
// It knows nothing of what it is pointed at, and reads none of it: any address will do, also one
// that is nobody's. On processors other than amd64 and arm64 it does nothing.
package prefetch

import "unsafe"

// LineBytes is what Lines counts in: the size of a cache line of amd64, and of most arm64.
const LineBytes = 64

// Of asks for the whole of what p points at; for nothing if p is nil.
func Of[T any](p *T) {
	if p != nil {
		Lines(unsafe.Pointer(p), int((unsafe.Sizeof(*p)+LineBytes-1)/LineBytes))
	}
}
