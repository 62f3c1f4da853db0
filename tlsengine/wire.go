package tlsengine

import (
	"fmt"
	"net"
	"time"
)

// wire is the net.Conn below crypto/tls. Callbacks see it as ClientHelloInfo.Conn, and may only ask
// it for its addresses. It belongs to one handshake: when that is over, m is nil, and whoever still
// holds the tls.Conn can read and write nothing.
type wire struct {
	m             *handshaker
	local, remote net.Addr
}

func (w *wire) Read(p []byte) (int, error) {
	if w.m == nil {
		return 0, net.ErrClosed
	}
	return w.m.read(p)
}

func (w *wire) Write(p []byte) (int, error) {
	if w.m == nil {
		return 0, net.ErrClosed
	}
	return w.m.write(p)
}

// Close does nothing: the socket is the caller's, and so are deadlines.
func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return w.local }
func (w *wire) RemoteAddr() net.Addr             { return w.remote }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// helloRandom reads the server's random out of the first message it sends, which travels in the
// clear. The keys of TLS 1.2 need it, and crypto/tls does not tell it.
type helloRandom struct {
	header  [recordHeaderLen]byte
	headerN int
	left    int // of the record's body
	body    [4 + 2 + 32]byte
	bodyN   int
}

// feed takes the server's bytes, split anyhow. Warnings may stand before the ServerHello, and it
// may be split over records.
func (r *helloRandom) feed(b []byte) {
	for len(b) > 0 && r.bodyN < len(r.body) {
		if r.headerN < recordHeaderLen {
			n := copy(r.header[r.headerN:], b)
			r.headerN += n
			b = b[n:]
			if r.headerN == recordHeaderLen {
				r.left = int(r.header[3])<<8 | int(r.header[4])
			}
		}
		n := min(len(b), r.left)
		if r.header[0] == recordHandshake {
			r.bodyN += copy(r.body[r.bodyN:], b[:n])
		}
		r.left -= n
		b = b[n:]
		if r.left == 0 && r.headerN == recordHeaderLen {
			r.headerN = 0
		}
	}
}

const msgServerHello = 2

func (r *helloRandom) random() ([]byte, error) {
	if r.bodyN < len(r.body) || r.body[0] != msgServerHello {
		return nil, fmt.Errorf("tlsengine: server's first message has type %d (%d bytes seen), "+
			"want ServerHello", r.body[0], r.bodyN)
	}
	return r.body[6:], nil
}
