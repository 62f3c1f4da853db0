package reference

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"derpd/relay/derp"
)

// client is one that is logged in.
type client struct {
	key  derp.Key
	conn net.Conn // TLS, or the wire itself
	wire *wire
	in   *bufio.Reader
}

// serve takes a connection through TLS, HTTP, login and what follows.
func (s *Server) serve(w *wire) {
	done := make(chan struct{})
	defer close(done)
	s.running.Go(func() { w.flush(done) })
	if err := w.SetDeadline(time.Now().Add(loginMax)); err != nil {
		return
	}
	c := &client{conn: w, wire: w}
	if s.tls != nil {
		c.conn = tls.Server(w, s.tls)
	}
	c.in = bufio.NewReaderSize(c.conn, readBytes)
	req, err := http.ReadRequest(c.in)
	if err != nil {
		return
	}
	if !strings.EqualFold(req.Header.Get("Upgrade"), "DERP") {
		s.page(c, req)
		w.linger()
		return
	}
	if s.upgrade(c, req) != nil {
		w.linger()
		return
	}
	if s.login(c) != nil {
		return
	}
	defer s.leave(c)
	if err := w.SetDeadline(time.Time{}); err != nil {
		return
	}
	if s.opt.KeepAlive > 0 {
		s.running.Go(func() { s.keepAlive(c, done) })
	}
	for s.frame(c) == nil {
	}
}

// upgrade answers the request and greets, in the way that the options ask for.
func (s *Server) upgrade(c *client, req *http.Request) error {
	if s.opt.Status != 0 {
		_, err := fmt.Fprintf(c.conn, "HTTP/1.1 %d %s\r\nContent-Length: 0\r\n"+
			"Connection: close\r\n\r\n", s.opt.Status, http.StatusText(s.opt.Status))
		return errors.Join(err, errors.New("refused"))
	}
	var out []byte
	if s.opt.NoFastStart || req.Header.Get("Derp-Fast-Start") != "1" {
		out = fmt.Appendf(out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n"+
			"Connection: Upgrade\r\nDerp-Version: %d\r\nDerp-Public-Key: %s\r\n\r\n",
			derp.ProtocolVersion, s.Key().Hex())
	}
	if s.opt.Garbage {
		_, err := c.conn.Write(append(out, "\x16\x03\x03 this is not DERP, and long enough to be "+
			"taken for a frame of any kind\r\n"...))
		return errors.Join(err, errors.New("garbage"))
	}
	_, err := c.conn.Write(derp.AppendServerKey(out, s.Key()))
	return err
}

// login reads who it is and answers; from then on packets for the key go to this connection.
func (s *Server) login(c *client) error {
	kind, payload, err := c.read(derp.FromClient)
	if err != nil {
		return err
	}
	if kind != derp.FrameClientInfo {
		return fmt.Errorf("a login of type %v", kind)
	}
	key, _, shared, err := derp.OpenClientInfo(s.opt.Key, payload)
	if err != nil {
		return err
	}
	var nonce [derp.NonceLen]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return err
	}
	c.key = key
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if nth(s.asked, s.opt.RefuseEvery) {
		return errors.New("refused")
	}
	info := derp.ServerInfo{Version: derp.ProtocolVersion}
	// It does not block, and nobody is given the connection before it is done.
	if _, err := c.conn.Write(shared.AppendServerInfo(nil, info, nonce)); err != nil {
		return err
	}
	s.stats.Logins++
	s.clients[key] = c
	s.order = append(s.order, c)
	return nil
}

func (s *Server) leave(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients[c.key] == c {
		delete(s.clients, c.key)
	}
	s.order = slices.DeleteFunc(s.order, func(o *client) bool { return o == c })
}

func (s *Server) keepAlive(c *client, done <-chan struct{}) {
	ticks := time.NewTicker(s.opt.KeepAlive)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			if _, err := c.conn.Write(derp.AppendKeepAlive(nil)); err != nil {
				return
			}
		case <-done:
			return
		}
	}
}

// read reads a frame; the payload is the caller's.
func (c *client) read(from derp.Side) (derp.FrameType, []byte, error) {
	var head [derp.HeaderLen]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return 0, nil, err
	}
	kind, n, _ := derp.Header(head[:])
	if err := derp.CheckLen(kind, n, from); err != nil {
		return 0, nil, err
	}
	payload := make([]byte, n)
	_, err := io.ReadFull(c.in, payload)
	return kind, payload, err
}

// frame does what a frame of a client asks for.
func (s *Server) frame(c *client) error {
	kind, payload, err := c.read(derp.FromClient)
	if err != nil {
		return err
	}
	switch kind {
	case derp.FrameSendPacket:
		to, packet, err := derp.ParseSendPacket(payload)
		if err != nil {
			return err
		}
		s.receive(c, to, packet, c.wire.arrived)
	case derp.FramePing:
		data, err := derp.ParsePing(payload)
		if err != nil {
			return err
		}
		if s.opt.NoPongs {
			return nil
		}
		_, err = c.conn.Write(derp.AppendPong(nil, data))
		return err
	}
	return nil
}

// page answers a request that is not for DERP.
func (s *Server) page(c *client, req *http.Request) {
	status, body := http.StatusNotFound, "not found\n"
	if req.Method == http.MethodGet && req.URL.Path == "/debug/varz" {
		status, body = http.StatusOK, s.varz()
	}
	// Whoever asked reads it or has gone.
	_, _ = fmt.Fprintf(c.conn, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; version=0.0.4\r\n"+
		"Content-Length: %d\r\nConnection: close\r\n\r\n%s", status, http.StatusText(status),
		len(body), body)
}
