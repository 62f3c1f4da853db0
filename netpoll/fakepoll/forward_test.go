package fakepoll_test

import (
	"net/netip"

	"derpd/netpoll"
)

// forwarder connects every accepted connection to an address and copies both ways, one
// buffer in flight a side, as much waiting as may come. The end of either ends both.
type forwarder struct {
	loop  netpoll.Loop
	to    netip.AddrPort
	sides map[netpoll.Handle]*side
	dirty []*side // in the order of events: a map's would not be the same each time
}

type side struct {
	h       netpoll.Handle
	other   *side
	open    bool
	busy    bool
	waiting []byte
	fin     bool // to be closed when all is sent
}

func newForwarder(loop netpoll.Loop, to netip.AddrPort) *forwarder {
	return &forwarder{loop: loop, to: to, sides: make(map[netpoll.Handle]*side)}
}

func (f *forwarder) Accepted(h netpoll.Handle, _ int, _ netip.AddrPort) {
	back, err := f.loop.Connect(netip.AddrPort{}, f.to)
	if err != nil {
		f.loop.Close(h)
		return
	}
	a, b := &side{h: h, open: true}, &side{h: back}
	a.other, b.other = b, a
	f.sides[h], f.sides[back] = a, b
}

func (f *forwarder) Connected(h netpoll.Handle, err error) {
	s := f.sides[h]
	if err != nil {
		f.loop.Reset(s.other.h)
		delete(f.sides, h)
		return
	}
	s.open = true
	f.dirty = append(f.dirty, s)
}

func (f *forwarder) Received(h netpoll.Handle, b []byte) {
	to := f.sides[h].other
	to.waiting = append(to.waiting, b...)
	if len(b) == 0 {
		to.fin = true
		f.loop.Close(h)
	}
	f.dirty = append(f.dirty, to)
}

func (f *forwarder) Sent(h netpoll.Handle, _ []byte, _ int, _ error) {
	f.sides[h].busy = false
	f.dirty = append(f.dirty, f.sides[h])
}

func (f *forwarder) Closed(h netpoll.Handle, _ error) {
	s := f.sides[h]
	s.open = false
	s.other.fin = true
	f.dirty = append(f.dirty, s.other)
	delete(f.sides, h)
}

func (f *forwarder) Timeout(netpoll.Handle) {}

func (f *forwarder) Woken() {}

func (f *forwarder) Flush() {
	for _, s := range f.dirty {
		if !s.open || s.busy {
			continue
		}
		if b := s.waiting; len(b) > 0 {
			s.waiting = nil
			s.busy = !f.loop.Send(s.h, b)
		}
		if s.fin && !s.busy {
			f.loop.Close(s.h)
		}
	}
	f.dirty = f.dirty[:0]
}
