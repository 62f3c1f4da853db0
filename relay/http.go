package relay

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"

	"derpd/relay/httplog"
	"derpd/relay/upgrade"
	"derpd/relay/websock"
)

// inlet is the listener through which bridges reach net/http.
type inlet struct {
	conns  chan *bridge
	closed chan struct{}
	once   sync.Once
}

// Accept implements net.Listener.
func (in *inlet) Accept() (net.Conn, error) {
	select {
	case b := <-in.conns:
		return b, nil
	case <-in.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (in *inlet) Close() error {
	in.once.Do(func() { close(in.closed) })
	return nil
}

// Addr implements net.Listener.
func (in *inlet) Addr() net.Addr { return &net.TCPAddr{} }

type bridgeKey struct{}

// IdleMax is how many of so many HTTP connections may be open for one to be kept after its answer.
// The rest is for those that end with theirs, or else connections that do nothing would keep a
// health check out for as long as they are kept.
func IdleMax(connections int) int { return connections - connections/4 }

// startHTTP starts the server for requests that are no upgrade.
func (s *Server) startHTTP() {
	s.inlet = &inlet{conns: make(chan *bridge, s.cfg.MaxHTTP), closed: make(chan struct{})}
	s.http = &http.Server{
		Handler:      http.HandlerFunc(s.serveHTTP),
		ReadTimeout:  httpTimeout,
		WriteTimeout: httpTimeout,
		IdleTimeout:  httpTimeout,
		ErrorLog:     httplog.New(s.log),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, bridgeKey{}, c)
		},
	}
	go s.http.Serve(s.inlet)
}

func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := r.Context().Value(bridgeKey{}).(*bridge)
	if b != nil {
		r.TLS = b.state
	}
	if s.shared.http.Load() > int64(IdleMax(s.cfg.MaxHTTP)) {
		w.Header().Set("Connection", "close")
	}
	if r.URL.Path != upgrade.Path || s.cfg.NoDERP || b == nil {
		s.cfg.HTTP.ServeHTTP(w, r)
		return
	}
	v := upgrade.Judge(r)
	switch v.Kind {
	case upgrade.DERP, upgrade.WebSocket: // a later request on a kept-alive connection
		var ws []byte
		if v.Kind == upgrade.WebSocket {
			var err error
			if ws, err = websock.Accept(r); err != nil {
				refuseWebSocket(w, r, err)
				return
			}
		}
		_, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, "the connection cannot be switched: "+err.Error(), 500)
			return
		}
		rest, _ := rw.Reader.Peek(rw.Reader.Buffered())
		b.resume(v, ws, append([]byte(nil), rest...))
	default:
		w.Header().Set("Upgrade", "DERP")
		http.Error(w, "DERP requires connection upgrade", http.StatusUpgradeRequired)
	}
}

// refuseWebSocket says what is wrong with an opening handshake.
func refuseWebSocket(w http.ResponseWriter, r *http.Request, err error) {
	var refusal *websock.Refusal
	if errors.As(err, &refusal) {
		refusal.ServeHTTP(w, r)
		return
	}
	http.Error(w, err.Error(), http.StatusBadRequest)
}
