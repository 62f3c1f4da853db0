package bootstrap

import (
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
)

// Service holds the lists and their answers. Run and the handlers may work at once.
type Service struct {
	published, unpublished []entry
	resolver               Resolver
	log                    *slog.Logger

	// current is stored by refresh and loaded by handlers; what it points to is complete
	// and never changes. It is never nil.
	current atomic.Pointer[answers]

	// Counters: added to by handlers, read by Stats.
	requests, publishedHits, publishedMisses                   atomic.Uint64
	unpublishedHits, unpublishedMisses, unpublishedShareMisses atomic.Uint64

	mu      sync.Mutex
	failing map[string]trouble  // names without an answer, and that was logged
	queried map[string]struct{} // names that clients asked for; at most queriedMax
}

// Stats are counters by derper's names, all with "bootstrap_dns_" in front.
type Stats struct {
	Requests                 uint64 // requests
	PublishedHits            uint64 // published_hits: ?q= had a published name
	PublishedMisses          uint64 // published_misses: one that has no addresses
	UnpublishedHits          uint64 // unpublished_hits: an unpublished name
	UnpublishedMisses        uint64 // unpublished_misses: neither, or not for this client
	UnpublishedPercentMisses uint64 // unpublished_percent_misses: not for this client
	QueriedDomains           uint64 // queried_domains: a gauge: different names in ?q=
}

// Stats returns the counters. It may be called from anywhere.
func (s *Service) Stats() Stats {
	s.mu.Lock()
	queried := len(s.queried)
	s.mu.Unlock()
	return Stats{
		Requests:                 s.requests.Load(),
		PublishedHits:            s.publishedHits.Load(),
		PublishedMisses:          s.publishedMisses.Load(),
		UnpublishedHits:          s.unpublishedHits.Load(),
		UnpublishedMisses:        s.unpublishedMisses.Load(),
		UnpublishedPercentMisses: s.unpublishedShareMisses.Load(),
		QueriedDomains:           uint64(queried),
	}
}

// Handler answers requests for /bootstrap-dns, of any method, with status 200 and a JSON
// object from name to list of addresses: the published ones, or the one unpublished name of
// ?q= if this client is to be told. The body is empty if nothing is configured, or nothing
// has been looked up yet.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serve) }

func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	w.Header().Set("Content-Type", "application/json")
	// A client asks once, of a relay chosen at random: keeping the connection is a waste.
	w.Header().Set("Connection", "close")
	now := s.current.Load()
	body := now.body
	if name := r.URL.Query().Get("q"); name != "" {
		s.remember(name)
		if secret := s.lookup(now, name, r.RemoteAddr); secret != nil {
			body = secret
		}
	}
	w.Write(body)
}

// lookup returns the body for an unpublished name, or nil if the published list is the
// answer. It counts as derper does: a client outside the share also counts as a miss.
func (s *Service) lookup(now *answers, name, remote string) []byte {
	if secret, ok := now.unpublished[name]; ok {
		s.unpublishedHits.Add(1)
		if inShare(remote, secret.percent) {
			return secret.body
		}
		s.unpublishedShareMisses.Add(1)
	}
	switch ips, ok := now.published[name]; {
	case len(ips) > 0:
		s.publishedHits.Add(1)
	case ok:
		s.publishedMisses.Add(1)
	default:
		s.unpublishedMisses.Add(1)
	}
	return nil
}

// remember counts a name that a client asked for.
func (s *Service) remember(name string) {
	if len(name) > nameBytesMax {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.queried[name]; ok {
		return
	}
	if len(s.queried) >= queriedMax {
		clear(s.queried)
	}
	s.queried[strings.Clone(name)] = struct{}{} // not the whole request that it is part of
}

// inShare reports whether the client at remote ("address:port") is among the percent of
// clients that are told. Its address seeds the draw, so that a client always gets the same
// result, and the same as from derper. On loopback, where there is one client, it is a coin
// toss at any percentage but 0 and 100, as derper has it.
func inShare(remote string, percent int) bool {
	if percent <= 0 || percent >= 100 {
		return percent >= 100
	}
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	addr := ap.Addr()
	if addr.Unmap().IsLoopback() {
		return rand.IntN(2) == 0
	}
	seed := addr.As16()
	draw := rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed[:8]),
		binary.LittleEndian.Uint64(seed[8:])))
	return draw.Float64() < float64(percent)/100
}
