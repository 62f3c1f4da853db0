package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"derpd/relay"
	"derpd/relay/httplog"
)

// plainTimeout is how long a request to port 80 and its answer may take, as on the main port.
const plainTimeout = 30 * time.Second

// plainServer serves port 80.
type plainServer struct {
	ln     *plainListener
	http   *http.Server
	silent sync.Map // net.Conn: those that have not sent a request yet
}

// newPlainServer serves ln, with places connections at most.
func newPlainServer(ln net.Listener, places int, log *slog.Logger) *plainServer {
	p := &plainServer{ln: &plainListener{Listener: ln, log: log,
		places: make(chan struct{}, places), closed: make(chan struct{})}}
	p.http = &http.Server{ReadTimeout: plainTimeout, WriteTimeout: plainTimeout,
		ErrorLog: httplog.New(log),
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateNew {
				p.silent.Store(c, nil)
			} else {
				p.silent.Delete(c)
			}
		}}
	return p
}

// serve serves until shutdown; nothing else ends it, see plainListener.
func (p *plainServer) serve(h http.Handler) {
	p.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if int(p.ln.open.Load()) > relay.IdleMax(cap(p.ln.places)) {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
	p.http.Serve(p.ln)
}

// shutdown takes no more connections, waits for the requests under way until ctx ends, and then
// cuts them.
func (p *plainServer) shutdown(ctx context.Context) error {
	p.ln.Close()
	// net/http waits five seconds for a connection that has sent nothing, which no stop should.
	p.silent.Range(func(c, _ any) bool {
		c.(net.Conn).Close()
		return true
	})
	err := p.http.Shutdown(ctx)
	p.http.Close()
	return err
}

// plainListener bounds the connections that are open at once, and lets net/http go on when the
// kernel cannot give one: net/http ends its loop on an error that does not call itself temporary,
// and those for lack of memory do not.
type plainListener struct {
	net.Listener
	places chan struct{} // holds an element for each connection, and for the next one
	open   atomic.Int64  // connections
	closed chan struct{}
	once   sync.Once
	log    *slog.Logger

	failing bool // the last Accept failed, and that was told; net/http's goroutine's
}

// Accept implements net.Listener. Beyond the bound connections wait in the kernel.
func (l *plainListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err == nil {
		if l.failing {
			l.log.Info("the port of -http-port accepts connections again")
		}
		l.failing = false
		l.open.Add(1)
		return &plainConn{Conn: c, free: sync.OnceFunc(func() {
			l.open.Add(-1)
			<-l.places
		})}, nil
	}
	<-l.places
	if errors.Is(err, net.ErrClosed) {
		return nil, err
	}
	if !l.failing {
		l.log.Warn("the port of -http-port accepts no connection; it is tried again", "error", err,
			"remedy", "raise the limit of open files, or give the host memory")
	}
	l.failing = true
	return nil, passing{err}
}

// Close implements net.Listener. Closing again is no error, since net/http does so too.
func (l *plainListener) Close() (err error) {
	l.once.Do(func() {
		close(l.closed)
		err = l.Listener.Close()
	})
	return err
}

// plainConn gives its place back when it is closed.
type plainConn struct {
	net.Conn
	free func()
}

// Close implements net.Conn.
func (c *plainConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

// passing is an error after which net/http accepts again, a second later at most.
type passing struct{ error }

// Timeout implements net.Error.
func (passing) Timeout() bool { return false }

// Temporary implements net.Error.
func (passing) Temporary() bool { return true }

// Unwrap lets errors.Is see the cause.
func (p passing) Unwrap() error { return p.error }
