package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
)

// answers is what handlers serve; it never changes after it is stored.
type answers struct {
	published map[string][]net.IP // all of the list, some perhaps with no addresses
	body      []byte              // the JSON of published; empty before the first refresh

	unpublished map[string]secret
}

// secret is what is known of an unpublished name.
type secret struct {
	ips     []net.IP
	body    []byte // the JSON object with this name alone
	percent int
}

// found is what the lookups of one entry gave.
type found struct {
	ips     []net.IP
	percent int
}

// refresh looks up all names, puts the answers in service and reports whether no lookup failed.
// A lookup that fails leaves what was known before; that a name or a TXT record does not exist
// is no failure but an answer.
func (s *Service) refresh(ctx context.Context) (complete bool) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	published := make([]found, len(s.published))
	unpublished := make([]found, len(s.unpublished))

	var lookups sync.WaitGroup
	slots := make(chan struct{}, lookupsAtOnce)
	start := func(look func()) {
		slots <- struct{}{}
		lookups.Go(func() {
			look()
			<-slots
		})
	}
	old := s.current.Load()
	for i, e := range s.published {
		start(func() { published[i].ips = s.addresses(ctx, e.name, old.published[e.name]) })
	}
	for i, e := range s.unpublished {
		start(func() {
			was := old.unpublished[e.name]
			unpublished[i] = found{s.addresses(ctx, e.name, was.ips),
				s.percentage(ctx, e.txt, was.percent)}
		})
	}
	lookups.Wait()
	s.current.Store(s.answers(published, unpublished))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, how := range s.failing {
		if how == failed {
			return false
		}
	}
	return true
}

// answers makes what handlers serve of what was found, in the order of the lists.
func (s *Service) answers(published, unpublished []found) *answers {
	now := &answers{published: map[string][]net.IP{}, unpublished: map[string]secret{}}
	told := map[string][]net.IP{}
	for i, e := range s.published {
		ips := published[i].ips
		// Clients try addresses in the order given, which must not favour one family.
		rand.Shuffle(len(ips), func(i, j int) { ips[i], ips[j] = ips[j], ips[i] })
		now.published[e.name] = ips
		if len(ips) > 0 {
			told[e.name] = ips
		}
	}
	if len(s.published) > 0 {
		now.body = object(told)
	}
	for i, e := range s.unpublished {
		if f := unpublished[i]; len(f.ips) > 0 {
			body := object(map[string][]net.IP{e.name: f.ips})
			now.unpublished[e.name] = secret{f.ips, body, f.percent}
		}
	}
	return now
}

// object returns the JSON of a body, indented as derper's is. It cannot fail: names and
// addresses are text.
func object(byName map[string][]net.IP) []byte {
	b, err := json.MarshalIndent(byName, "", "\t")
	if err != nil {
		panic("bootstrap: " + err.Error())
	}
	return b
}

// addresses looks a name up, and returns was if that fails. The result is the caller's.
func (s *Service) addresses(ctx context.Context, name string, was []net.IP) []net.IP {
	ips, err := s.resolver.LookupIP(ctx, "ip", name)
	s.note(ctx, name, err)
	if err != nil && !notFound(err) {
		return append([]net.IP(nil), was...)
	}
	// Whatever form the resolver gave, a body has "192.0.2.1" and never "::ffff:192.0.2.1";
	// an address of no legal length, which would not go into JSON, is left out.
	valid := make([]net.IP, 0, len(ips))
	for _, ip := range ips {
		if ip = ip.To16(); ip != nil {
			valid = append(valid, ip)
		}
	}
	return valid
}

// percentage looks a TXT record up, and returns was if that fails. A record that does not
// exist, or holds no percentage, is 0: taking it away ends a rollout.
func (s *Service) percentage(ctx context.Context, txt string, was int) int {
	if txt == "" {
		return 100
	}
	texts, err := s.resolver.LookupTXT(ctx, txt)
	s.note(ctx, txt, err)
	if err != nil && !notFound(err) {
		return was
	}
	return parsePercent(texts)
}

// parsePercent returns the last of the texts that is a percentage, or 0.
func parsePercent(texts []string) (percent int) {
	for _, text := range texts {
		if n, err := strconv.Atoi(strings.TrimSpace(text)); err == nil && 0 <= n && n <= 100 {
			percent = n
		}
	}
	return percent
}

func notFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// trouble is why a name has no answer of its own: values of Service.failing.
type trouble int

const (
	absent trouble = iota + 1 // there is no such record: an answer, which stays as it is for long
	failed                    // it could not be looked up, and may be soon
)

// note logs the first failure of a name, by its kind, and its end. What fails because the process
// ends is no failure.
func (s *Service) note(ctx context.Context, name string, err error) {
	if ctx.Err() == context.Canceled {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.failing[name]
	switch {
	case err == nil && was != 0:
		delete(s.failing, name)
		s.log.Info("bootstrap DNS: lookup succeeds again", "name", name)
	case err == nil:
	case notFound(err):
		s.failing[name] = absent
		if was != absent {
			s.log.Warn("bootstrap DNS: no such record; it is not served until there is one",
				"name", name, "error", err)
		}
	default:
		s.failing[name] = failed
		if was != failed {
			s.log.Warn("bootstrap DNS: lookup failed; the last answer stays in service",
				"name", name, "error", err)
		}
	}
}
