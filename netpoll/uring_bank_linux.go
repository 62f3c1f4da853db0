package netpoll

import (
	"derpd/netpoll/internal/uring"
)

// bank is a ring with its table of direct descriptors and its receive buffers. The kernel bounds
// a table by RLIMIT_NOFILE, but not how many tables a process has: a loop that holds more
// connections than one table opens another bank, and has its work announced by the eventfd that
// the first one watches.
type bank struct {
	ring    *uring.Ring
	buffers *uring.Buffers
	base    int32   // the slot that file 0 belongs to
	files   int32   // in the table; file i belongs to slot base+i
	used    int32   // files ever used
	free    int32   // 1 + the slot freed last, linked by uconn.link; 0: none
	expects bool    // a request that completes at once has not been submitted
	closing bool    // nor has one that closes a file
	rearm   []int32 // slots that want to receive again
	starved []int32 // slots that found no buffer, the longest waiting first
	pins    []any   // what requests point to that have not been submitted
}

// newBank makes a ring whose first file belongs to slot base. The caller has to enable it.
func newBank(sh shape, base int32) (*bank, error) {
	ring, err := uring.Open(uring.Config{Entries: sh.entries, Completions: sh.completions,
		Files: uint32(sh.files)})
	if err != nil {
		return nil, err
	}
	buffers, err := uring.NewBuffers(ring, sh.buffers, sh.bufferBytes, sh.features.Incremental)
	if err != nil {
		ring.Close()
		return nil, err
	}
	return &bank{ring: ring, buffers: buffers, base: base, files: int32(sh.files)}, nil
}

func (b *bank) close() {
	b.ring.Close()
	b.buffers.Close()
}

func (b *bank) submit() {
	b.ring.Submit()
	b.submitted()
}

func (b *bank) wait(w uring.Wait) {
	b.ring.Wait(w)
	b.submitted()
}

func (b *bank) submitted() {
	if b.ring.Pending() == 0 {
		b.expects, b.closing = false, false
		clear(b.pins)
		b.pins = b.pins[:0]
	}
}

// room returns the ring of a bank with room for one request.
func (l *URing) room(b *bank) *uring.Ring {
	for b.ring.Full() {
		b.submit()
	}
	return b.ring
}

// bank is the one that a slot belongs to.
func (l *URing) bank(slot int32) (b *bank, file int) {
	b = l.banks[0]
	if slot >= b.files {
		b = l.banks[int(slot)/int(b.files)]
	}
	return b, int(slot - b.base)
}

// reserve takes a free slot. An error is that of making another bank.
func (l *URing) reserve() (int32, *uconn, error) {
	for _, b := range l.banks {
		if slot := b.free - 1; slot >= 0 {
			c := l.at(slot)
			b.free = c.link
			*c = uconn{generation: c.generation}
			return slot, c, nil
		}
		if b.used < b.files {
			slot := b.base + b.used
			for int(slot)>>pageBits >= len(l.pages) {
				l.pages = append(l.pages, new([connsPerPage]uconn))
				l.wheel.grow(len(l.pages) * connsPerPage * timersPerConn)
			}
			b.used++
			c := l.at(slot)
			*c = uconn{generation: 1}
			return slot, c, nil
		}
	}
	if err := l.grow(); err != nil {
		return 0, nil, err
	}
	return l.reserve()
}

// grow opens another bank. It runs on the loop's thread, which owns it at once.
func (l *URing) grow() error {
	base := len(l.banks) * l.shape.files
	if base+l.shape.files > connsMax {
		return ErrTooMany
	}
	b, err := newBank(l.shape, int32(base))
	if err != nil {
		return err
	}
	if err = b.ring.Enable(); err == nil {
		err = b.ring.NotifyBy(l.eventfd)
	}
	if err != nil {
		b.close()
		return err
	}
	b.ring.Notify(false)
	l.banks = append(l.banks, b)
	l.log.Debug("another ring for more connections", "rings", len(l.banks), "each", l.shape.files)
	return nil
}

// unreserve makes a slot free for a connection of the next generation.
func (l *URing) unreserve(slot int32, c *uconn) {
	b, _ := l.bank(slot)
	generation := c.generation + 1
	if generation == 0 {
		generation = 1
	}
	*c = uconn{generation: generation, link: b.free}
	b.free = slot + 1
}

// eachSlot visits every slot ever used.
func (l *URing) eachSlot(visit func(slot int32, c *uconn)) {
	for _, b := range l.banks {
		for i := range b.used {
			visit(b.base+i, l.at(b.base+i))
		}
	}
}
