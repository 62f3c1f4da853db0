package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"derpd/bench/baseline/front"
	"derpd/relay/derp"
)

const (
	// queueFrames is how many packets wait for a client, as in derper.
	queueFrames = 32
	// writeBytes is one full TLS record.
	writeBytes = 16 << 10
	// loginWaitMax is how long a stranger has to say who it is.
	loginWaitMax = 10 * time.Second
	// keepAliveSpan is half of what clients wait for a sign of life.
	keepAliveSpan = time.Minute
)

func main() { front.Main(front.Program{Name: "goroutines", Serve: serve}) }

// server knows who is connected.
type server struct {
	cfg    *front.Config
	counts front.Counters

	mu      sync.RWMutex
	clients map[derp.Key]*client
}

// client is one that has logged in.
type client struct {
	conn net.Conn
	key  derp.Key
	out  chan []byte   // whole frames
	done chan struct{} // closed when its reader has ended
}

func serve(cfg *front.Config) error {
	s := &server{cfg: cfg, clients: make(map[derp.Key]*client)}
	l, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return err
	}
	if cfg.TLS != nil {
		l = tls.NewListener(l, cfg.TLS)
	}
	h := &http.Server{Handler: s, ReadHeaderTimeout: loginWaitMax}
	return h.Serve(l)
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	isDERP, fast := front.Upgrade(r)
	switch {
	case isDERP:
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer conn.Close()
		// A client that breaks the protocol, or leaves, is done with; it knows why.
		_ = s.client(conn, buf.Reader, fast)
	case r.URL.Path == front.MetricsPath:
		_, _ = w.Write(s.counts.Page()) // the reader has left
	default:
		http.NotFound(w, r)
	}
}

// client serves one connection until it ends.
func (s *server) client(conn net.Conn, r *bufio.Reader, fast bool) error {
	if err := conn.SetDeadline(time.Now().Add(loginWaitMax)); err != nil {
		return err
	}
	if _, err := conn.Write(s.cfg.Greeting(fast)); err != nil {
		return err
	}
	frame, kind, err := readFrame(r)
	if err != nil {
		return err
	}
	if kind != derp.FrameClientInfo {
		return fmt.Errorf("%v instead of a login", kind)
	}
	key, reply, err := s.cfg.Admit(frame[derp.HeaderLen:])
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	c := &client{conn: conn, key: key, out: make(chan []byte, queueFrames),
		done: make(chan struct{})}
	c.out <- reply
	s.enter(c) // before the reply goes out, which says that packets will come
	go s.write(c)
	defer close(c.done)
	defer s.leave(c)
	return s.read(c, r)
}

// enter makes a client known; one that had its key before is disconnected.
func (s *server) enter(c *client) {
	s.mu.Lock()
	old := s.clients[c.key]
	s.clients[c.key] = c
	s.mu.Unlock()
	s.counts.Clients.Add(1)
	if old != nil {
		_ = old.conn.Close() // its reader sees it
	}
}

func (s *server) leave(c *client) {
	s.mu.Lock()
	if s.clients[c.key] == c {
		delete(s.clients, c.key)
	}
	s.mu.Unlock()
	s.counts.Clients.Add(-1)
}

// read takes frames from a client until it leaves.
func (s *server) read(c *client, r *bufio.Reader) error {
	for {
		frame, kind, err := readFrame(r)
		if err != nil {
			return err
		}
		switch kind {
		case derp.FrameSendPacket:
			s.forward(c, frame)
		case derp.FramePing:
			pong, err := front.Pong(frame)
			if err != nil {
				return err
			}
			c.out <- pong // its writer takes it
		}
	}
}

// readFrame reads one whole frame, header included.
func readFrame(r *bufio.Reader) ([]byte, derp.FrameType, error) {
	header, err := r.Peek(derp.HeaderLen)
	if err != nil {
		return nil, 0, err
	}
	kind, n, ok := derp.Header(header)
	if !ok {
		return nil, 0, errors.New("a header that is none")
	}
	if err := derp.CheckLen(kind, n, derp.FromClient); err != nil {
		return nil, kind, err
	}
	frame := make([]byte, derp.HeaderLen+n)
	_, err = io.ReadFull(r, frame)
	return frame, kind, err
}

// forward queues a packet for its destination, or drops it.
func (s *server) forward(from *client, frame []byte) {
	s.counts.Received.Add(1)
	s.mu.RLock()
	to := s.clients[front.Destination(frame)]
	s.mu.RUnlock()
	if to == nil {
		s.counts.Unknown.Add(1)
		return
	}
	derp.SendToRecv(frame, from.key)
	select {
	case to.out <- frame:
	default:
		s.counts.Full.Add(1)
	}
}

// write sends what is queued for a client until its reader ends.
func (s *server) write(c *client) {
	s.writeAll(c)
	_ = c.conn.Close() // the reader sees it
	for {
		select {
		case <-c.out: // the reader may be waiting to leave a Pong
			s.counts.Gone.Add(1)
		case <-c.done:
			s.counts.Gone.Add(uint64(len(c.out)))
			return
		}
	}
}

// writeAll returns when the client does not take any more, or has left.
func (s *server) writeAll(c *client) {
	w := bufio.NewWriterSize(c.conn, writeBytes)
	tick := time.NewTicker(keepAliveSpan)
	defer tick.Stop()
	for {
		select {
		case frame := <-c.out:
			s.put(w, frame)
		case <-tick.C:
			s.put(w, derp.AppendKeepAlive(nil))
		case <-c.done:
			return
		}
		for n := len(c.out); n > 0; n = len(c.out) {
			s.put(w, <-c.out) // nobody else takes any
		}
		if w.Flush() != nil {
			return
		}
	}
}

// put appends a frame to a write; the writer's error stays until it is flushed.
func (s *server) put(w *bufio.Writer, frame []byte) {
	if kind, _, _ := derp.Header(frame); kind == derp.FrameRecvPacket {
		s.counts.Sent.Add(1)
	}
	_, _ = w.Write(frame)
}
