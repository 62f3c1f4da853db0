package netpoll

import (
	"io"
	"net/netip"
	"testing"
)

// TestSilentSendsAreCounted: a sleep that submits waits for as many completions as copied sends come
// to and one more. One that is made longer is still one; one that got a successor needs a turn.
func TestSilentSendsAreCounted(t *testing.T) {
	if err := ProbeURing(); err != nil {
		t.Skip(err)
	}
	t.Run(onURing, func(t *testing.T) {
		p := &probe{}
		handles := make(chan Handle, 1)
		p.accepted = func(h Handle, _ int, _ netip.AddrPort) { handles <- h }
		sent := make(chan int, 1)
		p.sent = func(_ Handle, b []byte, _ int, _ error) { sent <- len(b) }
		addr := runLoop(t, p, Config{})
		c := dial(t, addr)
		h := within(t, handles)
		sizes := []int{100, 200, sendCopyMax}
		onLoop(t, p.loop, func() {
			b := p.loop.(*URing).banks[0]
			for i, want := range []int{1, 1, 0} {
				before := p.loop.Send(h, make([]byte, sizes[i]))
				if b.silent != want || before != (i < 2) {
					t.Errorf("after Send %d: %d silent sends, taken: %v", i, b.silent, before)
				}
			}
		})
		if n := within(t, sent); n != sizes[2] {
			t.Errorf("Sent of %d bytes, want %d", n, sizes[2])
		}
		if _, err := io.ReadFull(c, make([]byte, sizes[0]+sizes[1]+sizes[2])); err != nil {
			t.Error(err)
		}
	})
}
