package relay

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"crypto/tls"

	"derpd/netpoll"
	"derpd/relay/upgrade"
)

// bridge is a net.Conn on top of a connection that stays on its loop, for net/http. The
// goroutine that reads and writes it and the loop meet under mu; the loop never waits.
type bridge struct {
	loop   *loop
	h      netpoll.Handle
	state  *tls.ConnectionState // nil on plain TCP
	local  net.Addr
	remote net.Addr

	mu      sync.Mutex
	changed sync.Cond // anything below
	in      []byte    // received, not read yet
	eof     bool      // the peer has ended its stream, or the connection is gone
	closed  bool      // by net/http, or taken back by the loop
	paused  bool      // the peer is held back
	busy    bool      // the loop has a part of a response that is not sent yet
	read    deadline
	write   deadline
}

// deadline is one direction's; under the bridge's mu.
type deadline struct {
	timer  *time.Timer
	passed bool
}

// toHTTP hands a connection to the HTTP server; b is what it has sent so far.
func (l *loop) toHTTP(c *conn, b []byte) {
	s := l.srv
	if s.shared.http.Add(1) > int64(s.cfg.MaxHTTP) {
		l.refuseHTTP(c)
		return
	}
	br := &bridge{loop: l, h: c.h, state: c.state, remote: net.TCPAddrFromAddrPort(c.remote)}
	br.changed.L = &br.mu
	br.in = append(br.in, b...)
	if local, err := l.poll.LocalAddr(c.h); err == nil {
		br.local = net.TCPAddrFromAddrPort(local)
	}
	select {
	case s.inlet.conns <- br:
	default: // full of bridges whose connections have ended meanwhile
		l.refuseHTTP(c)
		return
	}
	c.bridge = br
	c.state = nil
	c.phase = phaseHTTP
	l.n.HTTP++
	l.n.InHTTP++
	l.poll.SetTimeout(c.h, 0) // net/http keeps its own deadlines
	l.poll.SetWriteTimeout(c.h, httpTimeout)
}

// refuseHTTP answers for an HTTP server that has enough to do.
func (l *loop) refuseHTTP(c *conn) {
	l.srv.shared.http.Add(-1)
	l.control(c, []byte("HTTP/1.1 503 Service Unavailable\r\n"+
		"Content-Length: 0\r\nConnection: close\r\n\r\n"))
	l.drain(c, EndHTTPCap)
}

// deliver gives bytes of the peer to the reader. On the loop.
func (b *bridge) deliver(l *loop, c *conn, p []byte) {
	b.mu.Lock()
	b.in = append(b.in, p...)
	if len(b.in) > bridgeBytes && !b.paused {
		b.paused = true
		l.poll.PauseReceive(c.h)
	}
	b.mu.Unlock()
	b.changed.Broadcast()
}

// peerClosed ends the stream for the reader. On the loop.
func (b *bridge) peerClosed() {
	b.mu.Lock()
	b.eof = true
	b.mu.Unlock()
	b.changed.Broadcast()
}

// written tells the writer that what it gave has left. On the loop.
func (b *bridge) written() {
	b.mu.Lock()
	b.busy = false
	b.mu.Unlock()
	b.changed.Broadcast()
}

// dropBridge takes a connection that has ended, or is upgraded, from the HTTP server.
func (l *loop) dropBridge(c *conn) {
	b := c.bridge
	c.bridge = nil
	l.n.InHTTP--
	l.srv.shared.http.Add(-1)
	b.mu.Lock()
	b.eof, b.closed = true, true
	b.read.stop()
	b.write.stop()
	b.mu.Unlock()
	b.changed.Broadcast()
}

// post runs fn on the loop if the connection is still this bridge's.
func (b *bridge) post(fn func(l *loop, c *conn)) bool {
	return b.loop.poll.Post(func() {
		if c := b.loop.at(b.h); c != nil && c.bridge == b {
			fn(b.loop, c)
		}
	})
}

// resume gives the connection back to the loop, to go on as DERP. rest is what net/http
// had read beyond the request. A peer that has ended its stream meanwhile would be a client that
// is not there, since nobody tells the loop a second time.
func (b *bridge) resume(v upgrade.Verdict, ws, rest []byte) {
	b.post(func(l *loop, c *conn) {
		b.mu.Lock()
		rest = append(rest, b.in...)
		paused, eof := b.paused, b.eof
		b.mu.Unlock()
		l.dropBridge(c)
		if eof {
			l.drain(c, EndPeerClosed) // what answers earlier requests is sent first
			return
		}
		if paused {
			l.poll.ResumeReceive(c.h)
		}
		l.upgrade(c, v, ws, rest)
	})
}

// Read implements net.Conn.
func (b *bridge) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case b.read.passed:
			return 0, os.ErrDeadlineExceeded
		case len(b.in) > 0 && !b.closed:
			n := copy(p, b.in)
			b.in = b.in[n:]
			if b.paused && len(b.in) == 0 {
				b.paused = false
				b.post(func(l *loop, c *conn) { b.letIn(l, c) })
			}
			return n, nil
		case b.eof:
			return 0, io.EOF
		case b.closed:
			return 0, net.ErrClosed
		case len(p) == 0:
			return 0, nil
		}
		b.changed.Wait()
	}
}

// letIn lets the peer go on, unless it has filled the buffer again meanwhile. On the loop.
func (b *bridge) letIn(l *loop, c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.paused {
		l.poll.ResumeReceive(c.h)
	}
}

// Write implements net.Conn: one part at a time is with the loop.
func (b *bridge) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		part := append([]byte(nil), p[:min(len(p), bridgeBytes)]...)
		if err = b.writePart(part); err == nil {
			n += len(part)
			p = p[len(part):]
		}
	}
	return n, err
}

func (b *bridge) writePart(part []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.busy && !b.closed && !b.write.passed {
		b.changed.Wait()
	}
	switch {
	case b.closed:
		return net.ErrClosed
	case b.write.passed:
		return os.ErrDeadlineExceeded
	}
	b.busy = true
	if !b.post(func(l *loop, c *conn) { l.control(c, part) }) {
		return net.ErrClosed
	}
	return nil
}

// Close implements net.Conn: what was written is sent first.
func (b *bridge) Close() error {
	b.mu.Lock()
	again := b.closed
	b.closed = true
	b.mu.Unlock()
	b.changed.Broadcast()
	if !again {
		b.post(func(l *loop, c *conn) {
			l.dropBridge(c)
			l.drain(c, EndHTTPDone)
		})
	}
	return nil
}

// LocalAddr implements net.Conn.
func (b *bridge) LocalAddr() net.Addr { return b.local }

// RemoteAddr implements net.Conn.
func (b *bridge) RemoteAddr() net.Addr { return b.remote }

// SetDeadline implements net.Conn.
func (b *bridge) SetDeadline(t time.Time) error {
	b.set(&b.read, t)
	b.set(&b.write, t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (b *bridge) SetReadDeadline(t time.Time) error { b.set(&b.read, t); return nil }

// SetWriteDeadline implements net.Conn.
func (b *bridge) SetWriteDeadline(t time.Time) error { b.set(&b.write, t); return nil }

func (b *bridge) set(d *deadline, t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d.stop()
	d.passed = false
	if !t.IsZero() && !b.closed {
		if wait := time.Until(t); wait <= 0 {
			d.passed = true
		} else {
			var timer *time.Timer
			timer = time.AfterFunc(wait, func() {
				b.mu.Lock()
				if d.timer == timer { // not replaced meanwhile
					d.passed = true
				}
				b.mu.Unlock()
				b.changed.Broadcast()
			})
			d.timer = timer
		}
	}
	b.changed.Broadcast()
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
