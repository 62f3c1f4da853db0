package reference

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"derpd/loadgen"
	"derpd/relay/derp"
)

// hostName is what the server calls itself; it takes any name.
const hostName = "reference.example.com"

// Server is a running server.
type Server struct {
	opt     Options
	ln      *net.TCPListener
	tls     *tls.Config // nil: plain
	clock   *clock
	running sync.WaitGroup
	ended   chan struct{}
	end     sync.Once

	mu      sync.Mutex
	conns   map[*wire]bool // all that are open
	clients map[derp.Key]*client
	order   []*client // logged in, oldest first
	stats   Stats
	drops   map[[2]string]uint64 // by reason and kind
	random  *mathrand.Rand
	asked   uint64             // logins
	held    map[pair][]*packet // that wait to be overtaken
}

// pair names who sends to whom.
type pair struct{ from, to *client }

// Start starts a server on a free port of 127.0.0.1 that lives until the test ends. It gives the
// Go scheduler two more processors, for goroutines that poll would keep it waiting otherwise.
func Start(t testing.TB, opt Options) *Server {
	t.Helper()
	if os.Getenv("TEST_EMULATED") != "" { // set by make test-arm64
		t.Skip("emulated: qemu-user has no SO_TIMESTAMPNS, which tells when bytes arrived")
	}
	s, err := start(opt)
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(before + 2)
	t.Cleanup(func() {
		s.Close()
		runtime.GOMAXPROCS(before)
	})
	return s
}

func start(opt Options) (*Server, error) {
	if opt.Key.IsZero() {
		var err error
		if opt.Key, err = derp.NewPrivateKey(rand.Reader); err != nil {
			return nil, err
		}
	}
	ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	s := &Server{opt: opt, ln: ln, ended: make(chan struct{}), conns: map[*wire]bool{},
		clients: map[derp.Key]*client{}, drops: map[[2]string]uint64{}, held: map[pair][]*packet{},
		random: mathrand.New(mathrand.NewPCG(opt.Seed, 0))}
	s.stats.Late = loadgen.NewHist()
	if opt.TLS {
		if s.tls, err = tlsConfig(opt); err != nil {
			return nil, errors.Join(err, ln.Close())
		}
	}
	s.clock = newClock(s.deliver)
	s.running.Go(s.clock.run)
	s.running.Go(s.accept)
	return s, nil
}

// tlsConfig makes a certificate of its own, and shows the DERP key behind it.
func tlsConfig(opt Options) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{hostName},
		Subject:   pkix.Name{CommonName: hostName},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
	leaf, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	chain := [][]byte{leaf}
	if !opt.NoFastStart {
		meta, err := derp.MetaCert(opt.Key.Public(), now)
		if err != nil {
			return nil, err
		}
		chain = append(chain, meta)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: key}},
		SessionTicketsDisabled: true}, nil
}

// Addr is where the server listens.
func (s *Server) Addr() netip.AddrPort {
	return s.ln.Addr().(*net.TCPAddr).AddrPort()
}

// Key is the server's public key.
func (s *Server) Key() derp.Key { return s.opt.Key.Public() }

// Target is the server as a generator needs it, its metrics too.
func (s *Server) Target() loadgen.Target {
	scheme := "http"
	if s.opt.TLS {
		scheme = "https"
	}
	return loadgen.Target{Addr: s.Addr(), Host: hostName, Plain: !s.opt.TLS,
		Varz: scheme + "://" + s.Addr().String() + "/debug/varz"}
}

// Stats returns the counts; they are the caller's.
func (s *Server) Stats() Stats {
	waiting := s.clock.waiting()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.stats
	now.Waiting = waiting
	now.Clients = len(s.order)
	now.Late = s.stats.Late.Clone()
	now.Dropped = map[string]uint64{}
	for key, n := range s.drops {
		now.Dropped[key[0]] += n
	}
	return now
}

// Stall stops all delivery for d from now. Packets are still read; what has become due meanwhile
// is delivered at once afterwards.
func (s *Server) Stall(d time.Duration) { s.clock.stall(d) }

// Cut ends all connections, with a reset or in order, and goes on taking new ones.
func (s *Server) Cut(reset bool) {
	for _, w := range s.open() {
		if reset {
			_ = w.SetLinger(0) // it fails for one that is closed, which is what is wanted
		}
		_ = w.Close()
	}
}

// Garble sends all clients that are logged in a frame that no client takes, and goes on.
func (s *Server) Garble() {
	s.mu.Lock()
	all := slices.Clone(s.order)
	s.mu.Unlock()
	for _, c := range all {
		_, _ = c.conn.Write(derp.AppendHeader(nil, 0xee, 1<<31)) // one that is gone has enough
	}
}

func (s *Server) open() (all []*wire) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.conns {
		all = append(all, w)
	}
	return all
}

// Close ends the server and waits for all of its goroutines.
func (s *Server) Close() {
	s.end.Do(func() {
		close(s.ended)
		_ = s.ln.Close()
		s.Cut(false)
		s.clock.end()
	})
	s.running.Wait()
}

func (s *Server) accept() {
	for {
		c, err := s.ln.AcceptTCP()
		if err != nil { // it was closed
			return
		}
		w, err := newWire(c)
		if err != nil {
			_ = c.Close()
			continue
		}
		s.mu.Lock()
		s.conns[w] = true
		s.mu.Unlock()
		s.running.Go(func() {
			s.serve(w)
			_ = w.Close()
			s.mu.Lock()
			delete(s.conns, w)
			s.mu.Unlock()
		})
		select {
		case <-s.ended: // Close did not see it
			_ = w.Close()
		default:
		}
	}
}
