package bench

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"derpd/relay/derp"
)

// stampBytes is the part of a payload the bench writes: frame number and due time, 8 bytes
// each, big-endian. The rest is filler.
const stampBytes = 16

// pair is a sender and a receiver. All but the counters and timing belongs to the pair's
// loop while that runs, and to the flow between steps.
type pair struct {
	from, to *client
	index    int    // in the flow
	batch    []byte // frames of one write
	frames   uint64 // in the batch
	size     int    // payload bytes of a frame
	next     uint64 // number of the next frame
	writes   int    // in this step
	full     bool   // the kernel takes no more from the sender
	in       cutter
	kept     []byte // beginning of a frame's head, received

	sent      atomic.Uint64 // frames written; the loop writes, the flow reads
	received  atomic.Uint64 // frames delivered; likewise
	timing    atomic.Bool   // whether to keep latencies; the flow writes, the loop reads
	latencies []time.Duration
}

func newPair(index int, from, to *client, frames, size int) *pair {
	p := &pair{from: from, to: to, index: index, frames: uint64(frames), size: size,
		in: cutter{source: from.key, size: size}}
	filler := make([]byte, size)
	for i := range filler {
		filler[i] = byte(i * 7)
	}
	for range frames {
		p.batch = derp.AppendSendPacket(p.batch, to.key, filler)
	}
	return p
}

// send writes what is due, as far as the kernel takes it, but not more than its turn allows.
func (p *pair) send(pace pace, now time.Duration) error {
	if p.full {
		return nil
	}
	if done, err := p.from.wire.flush(); err != nil || !done {
		p.full = !done
		return err
	}
	turn := turnWritesMax
	if pace.interval == 0 {
		turn = floodWritesMax
	}
	for range turn {
		due := pace.due(p.index, p.writes)
		if due > now {
			return nil
		}
		p.stamp(due)
		if _, err := p.from.conn.Write(p.batch); err != nil {
			return err
		}
		p.writes++
		p.sent.Add(p.frames)
		if p.full = len(p.from.wire.pending) > 0; p.full {
			return nil
		}
	}
	return nil
}

// stamp numbers the frames of the batch and writes the time they are due.
func (p *pair) stamp(due time.Duration) {
	const head = derp.HeaderLen + derp.KeyLen
	for b := p.batch; len(b) > 0; b = b[head+p.size:] {
		p.next++
		binary.BigEndian.PutUint64(b[head:], p.next)
		binary.BigEndian.PutUint64(b[head+8:], uint64(due))
	}
}

// receive takes what one read of the socket gives.
func (p *pair) receive(buf []byte) error {
	if err := p.to.wire.fill(); err != nil {
		return err
	}
	for {
		kept := copy(buf, p.kept)
		n, err := p.to.conn.Read(buf[kept:])
		if errors.Is(err, errNothing{}) {
			return nil
		}
		if err != nil {
			return err
		}
		rest, err := p.in.cut(buf[:kept+n])
		p.kept = append(p.kept[:0], rest...)
		p.received.Add(uint64(len(p.in.due)))
		if err != nil {
			return err
		}
		if p.timing.Load() {
			p.keepLatencies(clock())
		}
	}
}

func (p *pair) keepLatencies(now time.Duration) {
	for _, due := range p.in.due {
		if len(p.latencies) < latencySamplesMax {
			p.latencies = append(p.latencies, now-due)
		}
	}
}
