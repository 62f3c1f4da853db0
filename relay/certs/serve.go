package certs

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
)

// subject is what a certificate is for: a host name, or an address.
type subject struct {
	name string     // plainName's; "" for an address
	addr netip.Addr // plain's; invalid for a name
}

func (s subject) String() string {
	if s.addr.IsValid() {
		return s.addr.String()
	}
	return s.name
}

// plainName and plain bring what may be written in several ways into one.
func plainName(name string) string   { return strings.ToLower(strings.TrimSuffix(name, ".")) }
func plain(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }

// localAddr returns the address that a client has reached, invalid if that is not known.
func localAddr(c net.Conn) netip.Addr {
	if c == nil {
		return netip.Addr{}
	}
	tcp, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return plain(tcp.AddrPort().Addr())
}

// served is one state of what handshakes get. Nobody changes it once it is published.
type served struct {
	name  *tls.Certificate // of the host name; nil: none yet
	addrs map[netip.Addr]servedAddr
	until time.Time // the earliest end of those in use; zero if there is none
}

type servedAddr struct {
	pair  *tls.Certificate // nil: none yet
	asked bool             // Watch knows that a client has connected to the address
}

// challenges holds what the CA's validation is answered with, while it is under way. Attempts
// write, handshakes and port 80 read.
type challenges struct {
	certs  sync.Map // host name (string) to *tls.Certificate (tls-alpn-01, RFC 8737)
	bodies sync.Map // URL path (string) to body (string) (http-01, RFC 8555 §8.3)
}

// counts are written by any goroutine, read by Stats.
type counts struct {
	misses, refused, validated, issued, failed atomic.Uint64
}

// Stats tells how certificates are served and got. Numbers are since start.
type Stats struct {
	Misses    uint64 // handshakes for a name or address of ours without a certificate yet
	Refused   uint64 // handshakes for names and addresses that are not ours
	Validated uint64 // answers given to the CA's validation, on either port
	Issued    uint64
	Failed    uint64    // attempts to get a certificate
	NotAfter  time.Time // earliest end of the certificates in use; zero if there is none
}

// Stats returns the counters.
func (a *Auto) Stats() Stats {
	return Stats{Misses: a.counts.misses.Load(), Refused: a.counts.refused.Load(),
		Validated: a.counts.validated.Load(), Issued: a.counts.issued.Load(),
		Failed: a.counts.failed.Load(), NotAfter: a.served.Load().until}
}

// GetCertificate implements the callback of tls.Config. It only reads what is in memory: what
// is not there is an error at once, and got in the background. Its certificates are shared
// and must not be changed.
func (a *Auto) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := plainName(hello.ServerName)
	if p := hello.SupportedProtos; len(p) == 1 && p[0] == acme.ALPNProto {
		return a.challenge(name)
	}
	if name != "" && name == a.host.name {
		if pair := a.served.Load().name; pair != nil {
			return pair, nil
		}
		a.counts.misses.Add(1)
		return nil, a.missing(a.host)
	}
	asked, err := netip.ParseAddr(name)
	if a.conf.IPs && (name == "" || err == nil) {
		return a.byAddr(asked, localAddr(hello.Conn))
	}
	a.counts.refused.Add(1)
	return nil, fmt.Errorf("certs: asked for %q, this server is %q", name, a.host)
}

func (a *Auto) missing(s subject) error {
	return fmt.Errorf("certs: no certificate for %v yet: it is being requested, try again; the "+
		"log tells if %s refuses", s, a.conf.Directory)
}

func (a *Auto) challenge(name string) (*tls.Certificate, error) {
	if pair, ok := a.challenges.certs.Load(name); ok {
		a.counts.validated.Add(1)
		return pair.(*tls.Certificate), nil
	}
	a.counts.refused.Add(1)
	return nil, fmt.Errorf("certs: no validation of %q is under way", name)
}

// byAddr serves a client that knows the server by address. asked is what it said, invalid for
// nothing; only the address it has reached counts, so that nobody can make us request
// certificates for addresses that are not ours.
func (a *Auto) byAddr(asked, local netip.Addr) (*tls.Certificate, error) {
	if !local.IsValid() || asked.IsValid() && plain(asked) != local {
		a.counts.refused.Add(1)
		return nil, fmt.Errorf("certs: asked for %v on a connection to %v", asked, local)
	}
	at, known := a.served.Load().addrs[local]
	if !known || !at.asked {
		select {
		case a.wanted <- local:
		default: // Watch is behind; a later handshake will ask again
		}
	}
	if at.pair != nil {
		return at.pair, nil
	}
	a.counts.misses.Add(1)
	return nil, a.missing(subject{addr: local})
}

const challengePath = "/.well-known/acme-challenge/"

// HTTPHandler answers the CA on port 80 and leaves everything else to fallback. Calling it
// says that port 80 is served: only then is http-01 used, which addresses need.
func (a *Auto) HTTPHandler(fallback http.Handler) http.Handler {
	a.http01.Store(true)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, challengePath) {
			fallback.ServeHTTP(w, r)
			return
		}
		body, ok := a.challenges.bodies.Load(r.URL.Path)
		if !ok {
			a.counts.refused.Add(1)
			http.Error(w, "no such validation is under way", http.StatusNotFound)
			return
		}
		a.counts.validated.Add(1)
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, body.(string))
	})
}
