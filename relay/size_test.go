package relay

import (
	"testing"
	"unsafe"

	"derpd/relay/registry"
	"derpd/tlsengine"
)

// A silent client is a few objects, each of a size that the allocator has: a field too many costs
// every client the step to the next one.
func TestSilentClientIsSmall(t *testing.T) {
	for _, o := range []struct {
		name      string
		size, max uintptr
	}{
		{"conn", unsafe.Sizeof(conn{}), 112},
		{"client", unsafe.Sizeof(client{}), 256},
		{"registry.Route", unsafe.Sizeof(registry.Route[client]{}), 64},
		{"tlsengine.Session", unsafe.Sizeof(tlsengine.Session{}), 224},
	} {
		if o.size > o.max {
			t.Errorf("a %s has %d bytes, %d are meant to do: what few connections need, or "+
				"only while they talk, belongs behind a pointer", o.name, o.size, o.max)
		}
	}
}
