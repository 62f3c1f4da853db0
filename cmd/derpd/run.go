package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"time"

	"derpd/netpoll"
	"derpd/relay"
	"derpd/relay/admit"
	"derpd/relay/bootstrap"
	"derpd/relay/certs"
	"derpd/relay/derp"
	"derpd/relay/httpd"
	"derpd/relay/ratelimit"
	"derpd/stun"
	"derpd/tlsengine"
)

// shutdownMax is how long SIGTERM waits for HTTP requests under way and last bytes.
const shutdownMax = 3 * time.Second

// server is everything that runs, in the order in which it is stopped.
type server struct {
	cfg    *config
	log    *slog.Logger
	lns    []*netpoll.Listener
	stun   *stun.Server
	plain  *plainServer // port 80
	web    http.Handler // what both serve
	certs  certSource   // nil: plain TCP
	store  *certs.Store // one of these two, or neither
	auto   *certs.Auto
	admit  *admit.Checker // nil: everyone may log in
	rate   ratelimit.Limits
	dns    *bootstrap.Service
	key    derp.PrivateKey
	mesh   relay.Mesh
	relay  *relay.Server
	engine netpoll.Engine
	loops  []netpoll.Runner
}

// run serves until ctx ends. Nothing is written to disk before every address is bound and
// every file read has been found good.
func run(ctx context.Context, c *config) error {
	s := &server{cfg: c, log: slog.New(slog.NewTextHandler(os.Stderr,
		&slog.HandlerOptions{Level: c.level}))}
	defer s.closeListeners()
	var err error
	if s.mesh, err = c.meshConfig(); err != nil {
		return err
	}
	if err := s.access(); err != nil {
		return err
	}
	if s.engine, err = s.chooseEngine(); err != nil {
		return err
	}
	if err := s.listen(); err != nil {
		return err
	}
	if err := s.identity(); err != nil {
		return err
	}
	if s.verifies() {
		if err := trustSomeone(); err != nil {
			return err
		}
	}
	if err := s.build(); err != nil {
		return err
	}
	return s.serve(ctx)
}

// listen binds every address, that of DERP last: who reaches DERP finds the others open too.
func (s *server) listen() (err error) {
	c := s.cfg
	if c.stun {
		ip := c.addr.Addr()
		if s.stun, err = stun.Listen(netip.AddrPortFrom(ip, uint16(c.stunPort)),
			c.latencyBudget); err != nil {
			return err
		}
	}
	if c.tls && c.httpPort >= 0 {
		addr := net.JoinHostPort(c.host, fmt.Sprint(c.httpPort))
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("-http-port %d: %w: stop what uses it, choose another port, or "+
				"-1 for none", c.httpPort, errors.Unwrap(err))
		}
		s.plain = newPlainServer(ln, c.maxHTTP, s.log)
	}
	return s.listenOn(c.addr)
}

// listenOn binds the address of DERP, for each loop.
func (s *server) listenOn(addr netip.AddrPort) (err error) {
	s.lns, err = netpoll.Listen(addr, s.cfg.loops, netpoll.ListenOptions{
		UserTimeout: s.cfg.userTimeout, KeepAlive: s.cfg.keepAliveTime()})
	return err
}

// identity reads certificate and key, and writes what is missing last.
func (s *server) identity() (err error) {
	c := s.cfg
	if err := s.certificates(); err != nil {
		return err
	}
	if c.keyFile == "" {
		if s.key, err = derp.NewPrivateKey(rand.Reader); err != nil {
			return err
		}
	} else {
		var made bool
		if s.key, made, err = derp.LoadOrCreateKey(c.keyFile); err != nil {
			return err
		}
		if made {
			s.log.Info("made a new server key", "file", c.keyFile)
		}
	}
	return s.serveCerts(s.key.Public())
}

// build makes the relay and its loops.
func (s *server) build() error {
	c := s.cfg
	rc := relay.Config{
		Key: s.key, Mesh: s.mesh, NoDERP: !c.derp, WriteTimeout: c.writeTimeout,
		MaxConnections: c.maxConnections, MaxHandshakes: c.maxHandshakes, MaxHTTP: c.maxHTTP,
		PreLoginBudget: c.preLoginBudget, QueueBudget: c.queueBudget, Workers: c.workers,
		Admit: s.admit, Logger: s.log,
	}
	c.limitAccepts(&rc)
	// Mesh peers are dialled over TLS also where a proxy speaks it for clients.
	if c.tls || s.mesh.NewHandshake != nil && len(s.mesh.Peers) > 0 {
		if err := tlsengine.SelfCheck(); err != nil {
			return fmt.Errorf("%w: build derpd with the Go release that its go.mod names", err)
		}
	}
	if c.tls {
		engine, err := tlsengine.NewServer(&tls.Config{
			GetCertificate: s.certs.GetCertificate, NextProtos: s.protocols()})
		if err != nil {
			return err
		}
		rc.NewHandshake = func(local, remote net.Addr) relay.Handshaker {
			return engine.New(local, remote)
		}
	}
	s.web = httpd.Main(s.pages())
	rc.HTTP = s.web
	s.relay = relay.New(rc)
	s.relay.SetRate(s.rate)
	return s.makeLoops(netpoll.Engine.New)
}

// pages says what the HTTP pages show: of what there is.
func (s *server) pages() httpd.Config {
	c := s.cfg
	pages := httpd.Config{Bootstrap: s.dns, ACE: c.ace, Version: version(),
		Home: c.home, NoDERP: !c.derp, TLS: c.tls,
		Snapshot: func() relay.Snapshot { return s.relay.Snapshot() }}
	if c.derp {
		pages.Clients = func() iter.Seq[relay.ClientInfo] { return s.relay.Clients() }
	}
	if s.stun != nil {
		pages.STUN = s.stun.Stats
	}
	if s.admit != nil {
		pages.Admit, pages.Probe = s.admit.Stats, s.admit.Probe
	}
	if s.auto != nil {
		pages.ACME = s.auto.Stats
	}
	if s.store != nil {
		pages.CertEnd = s.store.NotAfter
	}
	if c.rateFile != "" {
		pages.Rate = func() ratelimit.Limits { return s.relay.Rate() }
	}
	return pages
}

// serve runs the loops until ctx ends or one of them fails.
func (s *server) serve(ctx context.Context) error {
	// A loop that waits for a CPU behind other goroutines waits milliseconds; with a P for
	// each, and for STUN, the kernel's scheduler decides instead.
	if need := len(s.loops) + s.cfg.workers + 3; runtime.GOMAXPROCS(0) < need {
		runtime.GOMAXPROCS(need)
	}
	handlers := make([]netpoll.Handler, len(s.loops))
	for i, l := range s.loops {
		handlers[i] = s.relay.Attach(l, len(s.loops))
	}
	ended := make(chan error, len(s.loops))
	for i, l := range s.loops {
		go func() { ended <- l.Run(handlers[i]) }()
	}
	if s.plain != nil { // its pages ask the relay and its loops
		go s.plain.serve(s.onPlain(httpd.Plain(s.web)))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.certs != nil {
		go s.certs.Watch(ctx)
	}
	go s.dns.Run(ctx)
	go followHeap(ctx)
	go func() {
		if err := loopsFirst(ctx, s.loops); err != nil {
			s.log.Debug("loops have no priority over other threads", "error", err)
		}
	}()
	s.watchRate(ctx)
	if s.stun != nil {
		go func() {
			if err := s.stun.Serve(); err != nil {
				s.log.Error("STUN ended; the relay goes on", "error", err)
			}
		}()
	}
	s.relay.StartMesh()
	s.announce()
	if s.cfg.status > 0 {
		go s.printStatus(ctx)
	}
	select {
	case <-ctx.Done():
		s.log.Info("stopping")
	case err := <-ended:
		return fmt.Errorf("an event loop ended: %w", err)
	}
	return s.stop(ended)
}

// stop closes in order: listeners beside the relay, HTTP requests under way, connections
// with a goodbye each, loops, workers.
func (s *server) stop(ended <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownMax)
	defer cancel()
	plainEnded := make(chan error, 1)
	if s.plain != nil { // at once with the relay: neither may use up the other's time
		go func() { plainEnded <- s.plain.shutdown(ctx) }()
	} else {
		plainEnded <- nil
	}
	if s.stun != nil {
		s.stun.Close()
	}
	cut := s.relay.Shutdown(ctx)
	if err := <-plainEnded; cut == nil {
		cut = err
	}
	if cut != nil {
		s.log.Warn("HTTP requests were cut off", "error", cut)
	}
	for range s.loops {
		if err := <-ended; err != nil {
			return err
		}
	}
	s.relay.Close()
	if s.admit != nil {
		s.admit.Close()
	}
	s.log.Info("stopped")
	return nil
}

// closeListeners frees addresses that were bound before an error; closing twice is harmless.
func (s *server) closeListeners() {
	for _, l := range s.lns {
		l.Close()
	}
	if s.stun != nil {
		s.stun.Close()
	}
	if s.plain != nil {
		s.plain.ln.Close()
	}
}
