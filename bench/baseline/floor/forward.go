package main

import (
	"golang.org/x/sys/unix"

	"derpd/bench/baseline/front"
	"derpd/relay/derp"
)

// readable reads once and forwards what has come.
func (f *floor) readable(c *conn) {
	had := copy(f.buf, c.part)
	n, err := unix.Read(c.fd, f.buf[had:had+receiveBytes])
	switch {
	case err == unix.EAGAIN, err == unix.EINTR:
		return
	case err != nil, n == 0:
		f.close(c)
		return
	}
	in := f.buf[:had+n]
	if !c.in {
		used, ok := f.logIn(c, in)
		if !ok {
			f.close(c)
			return
		}
		in = in[used:]
	}
	if c.in {
		used, ok := f.forward(c, in)
		if !ok {
			f.close(c)
			return
		}
		in = in[used:]
	}
	c.part = append(c.part[:0], in...)
}

// logIn takes what comes before the first frame; false ends the connection.
func (f *floor) logIn(c *conn, in []byte) (used int, ok bool) {
	s, err := c.login.Next(f.cfg, &f.counts, in)
	if err != nil {
		return 0, false
	}
	if len(s.Reply) > 0 {
		f.write(c, s.Reply)
	}
	if s.In && !c.gone {
		if old := f.clients[s.Key]; old != nil {
			f.close(old)
		}
		c.in, c.key = true, s.Key
		f.clients[c.key] = c
		f.counts.Clients.Add(1)
	}
	return s.Used, !s.Last && !c.gone
}

// find looks a destination up; nil if nobody has the key.
func (f *floor) find(c *conn, key derp.Key) *conn {
	if c.last == nil || c.last.gone || c.last.key != key {
		c.last = f.clients[key]
	}
	return c.last
}

// forward takes all whole frames and returns how many bytes they are. Those that follow each other
// to one destination are one write. False: the client broke the protocol.
func (f *floor) forward(c *conn, in []byte) (used int, ok bool) {
	var to *conn // of in[from:used], which are packets
	from, packets := 0, uint64(0)
	for {
		frame, kind, err := front.Next(in[used:])
		var next *conn
		if frame != nil && err == nil && kind == derp.FrameSendPacket {
			f.counts.Received.Add(1)
			if next = f.find(c, front.Destination(frame)); next == nil {
				f.counts.Unknown.Add(1)
			}
		}
		if next != to || next == nil {
			if packets > 0 {
				f.send(to, in[from:used], packets)
			}
			to, from, packets = next, used, 0
		}
		switch {
		case err != nil || c.gone: // a write to itself may have failed
			return used, false
		case frame == nil:
			return used, true
		case next != nil:
			derp.SendToRecv(frame, c.key)
			packets++
		case kind == derp.FramePing:
			pong, err := front.Pong(frame)
			if err != nil {
				return used, false
			}
			f.write(c, pong)
		}
		used += len(frame)
	}
}

// send gives packets to their destination, or drops them.
func (f *floor) send(to *conn, b []byte, packets uint64) {
	switch {
	case len(to.blocked) > 0 && len(to.blocked)+len(b) > blockedBytesMax:
		f.counts.Full.Add(packets)
	case f.write(to, b):
		f.counts.Sent.Add(packets)
	default:
		f.counts.Gone.Add(packets)
	}
}

// write gives bytes to the socket, and keeps what it does not take; false if the client is gone.
func (f *floor) write(to *conn, b []byte) bool {
	if !to.gone && len(to.blocked) == 0 {
		n, err := unix.Write(to.fd, b)
		if n == len(b) {
			return true
		}
		b = b[max(n, 0):]
		if err != nil && err != unix.EAGAIN && err != unix.EINTR ||
			f.watch(to.fd, unix.EPOLL_CTL_MOD, unix.EPOLLIN|unix.EPOLLOUT) != nil {
			f.close(to)
		}
	}
	if to.gone {
		return false
	}
	to.blocked = append(to.blocked, b...)
	return true
}

// unblock writes what waits.
func (f *floor) unblock(c *conn) {
	n, err := unix.Write(c.fd, c.blocked)
	switch {
	case err == unix.EAGAIN, err == unix.EINTR:
	case err != nil:
		f.close(c)
	case n < len(c.blocked):
		c.blocked = c.blocked[n:]
	default:
		c.blocked = nil
		if f.watch(c.fd, unix.EPOLL_CTL_MOD, unix.EPOLLIN) != nil {
			f.close(c)
		}
	}
}
