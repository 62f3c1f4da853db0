package relay

import (
	"strings"
	"testing"
	"time"

	"derpd/netpoll"
	"derpd/relay/derp"
)

// undialled is a relay that does not dial again.
func undialled() Config {
	return Config{Mesh: Mesh{After: func(time.Duration, func()) {}}}
}

// newLink is a connection to another node that has been accepted there, in a phase.
func newLink(t testing.TB, d *loopDouble, p phase) netpoll.Handle {
	from := d.login(t, 1, false) // a connection to make a link of
	c := d.l.at(from.h)
	lk := &link{srv: d.l.srv, loop: d.l}
	c.early = &early{link: lk}
	c.phase = p
	if p == phaseLink {
		c.client.link = true
		c.client.node = &node{reaches: map[derp.Key]struct{}{}}
		lk.cl = c.client
	} else {
		d.l.part(c.client)
		c.client = nil
	}
	return from.h
}

// TestLinkFrameTooLong: a frame of another node that is to be read as a whole must not make a
// relay hold what it says; the link ends instead, with what was wrong. What is skipped anyway may
// be longer.
func TestLinkFrameTooLong(t *testing.T) {
	for _, tc := range []struct {
		frame derp.FrameType
		ends  bool
	}{
		{derp.FramePeerPresent, true}, {derp.FramePeerGone, true}, {derp.FrameServerInfo, true},
		{derp.FramePing, true}, {derp.FrameHealth, false}, {derp.FrameRecvPacket, false},
	} {
		_, ds, _ := newDoubles(t, 1, undialled())
		d := ds[0]
		h := newLink(t, d, phaseLink)
		lk := d.l.at(h).link
		wire := derp.AppendHeader(nil, tc.frame, derp.MaxFromServer)
		wire = append(wire, make([]byte, derp.MaxFromServer)...)
		wire = derp.AppendPing(wire, [derp.PingLen]byte{})
		for rest := wire; len(rest) > 0 && d.l.at(h) != nil; {
			n := min(len(rest), 60<<10)
			d.l.Received(h, rest[:n])
			rest = rest[n:]
		}
		if ended := d.slots[h.Slot()].closed; ended != tc.ends ||
			ended != strings.Contains(lk.trouble, tc.frame.String()) {
			t.Errorf("%v of 1 MiB: ended %v (%q), want %v", tc.frame, ended, lk.trouble, tc.ends)
		}
	}
}

// FuzzLink takes anything that another node may send, before its login and behind it, in pieces.
func FuzzLink(f *testing.F) {
	head := "HTTP/1.1 101 Switching Protocols\r\n\r\n"
	f.Add(false, uint16(7), []byte(head+string(derp.AppendServerKey(nil, derp.Key{9}))))
	present := derp.AppendPeerPresent(nil, derp.PeerPresent{Key: derp.Key{3}})
	f.Add(true, uint16(1), append(present, derp.AppendPeerGone(nil, derp.Key{3}, 0)...))
	f.Add(true, uint16(60000), derp.AppendHeader(nil, derp.FramePeerPresent, derp.MaxFromServer))
	f.Fuzz(func(t *testing.T, up bool, piece uint16, wire []byte) {
		_, ds, work := newDoubles(t, 1, undialled())
		d := ds[0]
		p := phaseLinkHead
		if up {
			p = phaseLink
		}
		h := newLink(t, d, p)
		for len(wire) > 0 && d.l.at(h) != nil && d.l.at(h).phase != phaseDead {
			n := min(len(wire), 1+int(piece))
			d.l.Received(h, wire[:n])
			wire = wire[n:]
			for _, fn := range *work {
				fn()
			}
			*work = nil
			d.settle()
			if c := d.l.at(h); c != nil && c.in != nil && len(c.in.Buf) > requestBytesMax+int(piece)+1 {
				t.Fatalf("%d bytes are held", len(c.in.Buf))
			}
		}
	})
}
