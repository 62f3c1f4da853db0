package prefetch

import (
	"syscall"
	"testing"
	"unsafe"
)

// TestNothingIsRead: memory that is not there any more does no harm, nor does what lies behind a
// page's last byte.
func TestNothingIsRead(t *testing.T) {
	page, err := syscall.Mmap(-1, 0, 1<<16, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	first, last := unsafe.Pointer(&page[0]), unsafe.Pointer(&page[len(page)-1])
	page[0] = 7
	Lines(first, 3)
	Lines(last, 1000)
	if page[0] != 7 {
		t.Error("what was asked for has changed")
	}
	if err := syscall.Munmap(page); err != nil {
		t.Fatal(err)
	}
	Lines(first, 1000)
	Of[[4096]byte](nil)
}

// BenchmarkCold: one op is a read of 12 lines that are in no cache, alone and asked for before.
func BenchmarkCold(b *testing.B) {
	const lines = 12
	type record struct {
		next *record
		_    [lines*LineBytes - 8]byte
	}
	records := make([]record, 1<<17) // 100 MB
	for _, ask := range []bool{false, true} {
		name := "alone"
		if ask {
			name = "asked"
		}
		b.Run(name, func(b *testing.B) {
			sum, at := byte(0), uint(0)
			for range b.N {
				at = (at*1664525 + 1013904223) % uint(len(records))
				r := (*[lines * LineBytes]byte)(unsafe.Pointer(&records[at]))
				if ask {
					Of(r)
				}
				for i := uint(0); i < lines; i++ { // each read waits for the one before
					sum += r[i*LineBytes+uint(sum&1)]
				}
			}
			if sum == 1 {
				b.Log("so that it is not left out")
			}
		})
	}
}
