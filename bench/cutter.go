package bench

import (
	"encoding/binary"
	"fmt"
	"time"

	"derpd/relay/derp"
)

// cutter finds the frames in what a receiver reads. It looks at heads only and checks in
// passing that each RecvPacket is one its sender made, whole and in order; some may lack.
type cutter struct {
	source derp.Key // who sends
	size   int      // payload bytes of its frames
	last   uint64   // number of the newest frame
	skip   int      // bytes of the present frame still to come
	due    []time.Duration
}

// cut goes over the next bytes of the stream and returns those it wants to see again, in
// front of the ones that follow: the beginning of a frame's head. It leaves the due times of
// the RecvPackets that began in c.due.
func (c *cutter) cut(b []byte) (rest []byte, err error) {
	const head = derp.HeaderLen + derp.KeyLen + stampBytes
	c.due = c.due[:0]
	for {
		n := min(c.skip, len(b))
		c.skip -= n
		if b = b[n:]; len(b) < derp.HeaderLen {
			return b, nil
		}
		kind, length, _ := derp.Header(b)
		if err := derp.CheckLen(kind, length, derp.FromServer); err != nil {
			return nil, err
		}
		if kind != derp.FrameRecvPacket {
			c.skip = derp.HeaderLen + length
			continue
		}
		if len(b) < head {
			return b, nil
		}
		if err := c.check(b[derp.HeaderLen:head], length); err != nil {
			return nil, err
		}
		stamp := b[derp.HeaderLen+derp.KeyLen:]
		c.last = binary.BigEndian.Uint64(stamp)
		c.due = append(c.due, time.Duration(binary.BigEndian.Uint64(stamp[8:])))
		c.skip = derp.HeaderLen + length
	}
}

// check looks at the beginning of a RecvPacket's payload: source key and stamp.
func (c *cutter) check(b []byte, length int) error {
	if length != derp.KeyLen+c.size {
		return fmt.Errorf("a packet of %d bytes came, %d were sent", length-derp.KeyLen, c.size)
	}
	if source := derp.Key(b[:derp.KeyLen]); source != c.source {
		return fmt.Errorf("a packet came from %v instead of %v", source, c.source)
	}
	if n := binary.BigEndian.Uint64(b[derp.KeyLen:]); n <= c.last {
		return fmt.Errorf("packet %d came after packet %d", n, c.last)
	}
	return nil
}
