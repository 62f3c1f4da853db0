//go:build amd64 || arm64

package prefetch

import "unsafe"

// Lines asks for n cache lines, one or more, the first of which holds the byte at p.
//
//go:noescape
func Lines(p unsafe.Pointer, n int)
