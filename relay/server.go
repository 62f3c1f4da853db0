package relay

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"crypto/tls"

	"derpd/netpoll"
	"derpd/relay/admit"
	"derpd/relay/derp"
	"derpd/relay/ratelimit"
	"derpd/relay/registry"
	"derpd/tlsengine"
)

// Handshaker is one TLS handshake, stepped with bytes (tlsengine.Handshake).
type Handshaker interface {
	Step(in []byte) (out []byte, done bool, err error)
	Finish(s *tlsengine.Session) (rest []byte, state tls.ConnectionState, err error)
	Stop()
}

// Config is what a relay is made with. The zero value of a field means its default.
type Config struct {
	Key derp.PrivateKey // the server's identity

	// NewHandshake begins a server handshake; nil serves plain TCP. Called by workers.
	NewHandshake func(local, remote net.Addr) Handshaker

	// HTTP answers requests that are no DERP upgrade. nil answers 404 to all.
	HTTP http.Handler

	Mesh Mesh // other nodes of the region; the zero value is none

	Admit *admit.Checker // who may log in; nil admits everyone

	// AcceptsPerSecond and AcceptBurst bound new connections; what comes beyond is accepted
	// and closed. 0 is no bound.
	AcceptsPerSecond float64
	AcceptBurst      int

	NoDERP bool // serve HTTP only; /derp is then the HTTP handler's

	WriteTimeout   time.Duration // a client that takes nothing for so long is cut; 0 is never
	MaxConnections int           // TCP connections of all loops; default 1,000,000
	MaxHandshakes  int           // in flight at once; default 4096 (21 KB each)
	MaxHTTP        int           // connections with the HTTP server at once; default 1024
	PreLoginBudget int64         // bytes of ClientInfo frames over 32 KiB; default 16 MiB
	QueueBudget    int64         // bytes of all that waits to be sent; default 1 GiB
	Workers        int           // goroutines for handshakes and logins; default 2

	// Submit replaces the workers: it gets each piece of work and must run it later, at
	// any time, never from within the call. For simulations.
	Submit func(work func())

	Seed   uint64 // of timer jitter; 0 is random
	Logger *slog.Logger
}

func (c *Config) defaults() {
	def := func(p *int, n int) {
		if *p == 0 {
			*p = n
		}
	}
	def(&c.MaxConnections, 1_000_000)
	def(&c.MaxHandshakes, 4096)
	def(&c.MaxHTTP, 1024)
	def(&c.Workers, 2)
	if c.PreLoginBudget == 0 {
		c.PreLoginBudget = 16 << 20
	}
	if c.QueueBudget == 0 {
		c.QueueBudget = 1 << 30
	}
	if c.Mesh.Go == nil {
		c.Mesh.Go = func(fn func()) { go fn() }
	}
	if c.Mesh.After == nil {
		c.Mesh.After = func(d time.Duration, fn func()) { time.AfterFunc(d, fn) }
	}
	if c.Seed == 0 {
		var b [8]byte
		rand.Read(b[:])
		c.Seed = binary.LittleEndian.Uint64(b[:])
	}
	if c.HTTP == nil {
		c.HTTP = http.NotFoundHandler()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// Server is a relay: what its loops share.
type Server struct {
	cfg      Config
	public   derp.Key
	greet    []byte // the 101 response
	keys     *registry.Registry[client]
	shared   shared
	presence presence
	// rate is what each client may send: swapped whole by SetRate, read by every loop.
	rate  atomic.Pointer[ratelimit.Limits]
	loops []*loop
	work  chan func()
	wakes netpoll.Wakes // what workers leave for loops
	stop  chan struct{} // closed by Close: workers end
	http  *http.Server
	inlet *inlet
	log   *slog.Logger
}

// New makes a relay without loops; Attach adds them.
func New(cfg Config) *Server {
	cfg.defaults()
	s := &Server{cfg: cfg, public: cfg.Key.Public(), keys: registry.New[client](),
		stop: make(chan struct{}), log: cfg.Logger}
	s.greet = greeting(s.public)
	if cfg.Submit == nil {
		// A handshake is queued at most once and there are at most MaxHandshakes, so there is
		// room for them; logins may fill the other half. Those that have lost their place are
		// queued once more, to be stopped: where there is no room they get a goroutine.
		s.work = make(chan func(), 2*cfg.MaxHandshakes)
		for range cfg.Workers {
			go s.worker()
		}
	}
	s.startHTTP()
	return s
}

// SetRate changes what each client may send, also for those already connected.
func (s *Server) SetRate(lim ratelimit.Limits) { s.rate.Store(&lim) }

// Rate returns what SetRate has set; the zero Limits, no limit, if it has not.
func (s *Server) Rate() (lim ratelimit.Limits) {
	if p := s.rate.Load(); p != nil {
		lim = *p
	}
	return lim
}

// Public is the server's key as clients see it.
func (s *Server) Public() derp.Key { return s.public }

// Attach makes the handler of one loop. loops is how many there will be; all are attached,
// in the order of their IDs, before any of them runs.
func (s *Server) Attach(p netpoll.Loop, loops int) netpoll.Handler {
	l := newLoop(s, p, loops)
	s.loops = append(s.loops, l)
	l.number = s.wakes.Add(p)
	return l
}

// worker computes. Loops are told of what came of it together, as long as there is more to do.
func (s *Server) worker() {
	for {
		select {
		case fn := <-s.work:
			fn()
			s.wakes.Done(len(s.work))
			netpoll.Yield(workSlice)
		case <-s.stop:
			s.lastWork()
			return
		}
	}
}

// lastWork runs what is still queued: handshakes whose connections have ended are waiting to
// have their coroutines stopped.
func (s *Server) lastWork() {
	for {
		select {
		case fn := <-s.work:
			fn()
		default:
			return
		}
	}
}

// submitLogin is submit for work that may not take the room kept for handshakes.
func (s *Server) submitLogin(fn func()) bool {
	if s.work != nil && len(s.work) >= cap(s.work)-s.cfg.MaxHandshakes {
		return false
	}
	return s.submit(fn)
}

// submit has a worker run fn; false when so much is queued that it must be refused.
func (s *Server) submit(fn func()) bool {
	if s.cfg.Submit != nil {
		s.cfg.Submit(func() { fn(); s.wakes.Settle(0) })
		return true
	}
	select {
	case s.work <- fn:
		return true
	default:
		return false
	}
}

// Snapshot asks every loop for its counters and sums them. It waits for the loops' next
// turns; a loop that has stopped gives its last.
func (s *Server) Snapshot() Snapshot {
	parts := make([]Counters, len(s.loops))
	stats := make([]netpoll.Stats, len(s.loops))
	done := make(chan struct{}, len(s.loops))
	for i, l := range s.loops {
		if !l.poll.Post(func() {
			parts[i], stats[i] = l.snapshot()
			done <- struct{}{}
		}) {
			if last := l.last.Load(); last != nil {
				parts[i], stats[i] = last.Counters, last.Loops[0]
			}
			done <- struct{}{}
		}
	}
	for range s.loops {
		<-done
	}
	snap := Snapshot{Loops: stats, Counts: s.keys.Counts(), Watchers: s.Watchers()}
	for i := range parts {
		snap.add(&parts[i])
	}
	return snap
}

// Shutdown ends every connection in order: HTTP requests under way are finished as long as
// ctx allows, then each loop sends its goodbyes (TLS close_notify) and stops.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	// The last responses are with the loops now, which still have to send them.
	for ctx.Err() == nil && s.shared.answers.Load() > 0 {
		time.Sleep(drainLook)
	}
	for _, l := range s.loops {
		l.poll.Post(l.shutdown)
		l.poll.Stop()
	}
	return err
}

// Close frees the workers. Call it when all loops have ended.
func (s *Server) Close() {
	s.http.Close()
	close(s.stop)
}
