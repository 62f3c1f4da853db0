package engine

import (
	"testing"
	"unsafe"
)

// TestClientIsSmall: a client that does nothing is all that 100,000 of them cost, beside the loop's
// table.
func TestClientIsSmall(t *testing.T) {
	const most = 448
	if n := unsafe.Sizeof(client{}); n > most {
		t.Errorf("a client takes %d bytes, more than %d", n, most)
	} else {
		t.Logf("a client takes %d bytes", n)
	}
}
