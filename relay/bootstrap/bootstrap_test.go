package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeResolver is a resolver with records that a test sets. A name in errs fails.
type fakeResolver struct {
	mu      sync.Mutex
	ips     map[string][]string
	txt     map[string][]string
	errs    map[string]error
	hang    map[string]bool // names that are answered only when the context ends
	lookups int
}

var errServer = &net.DNSError{Err: "server misbehaving", IsTemporary: true}

func missing(name string) error {
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (s *fakeResolver) fail(ctx context.Context, name string) error {
	s.mu.Lock()
	s.lookups++
	hang, err := s.hang[name], s.errs[name]
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (s *fakeResolver) LookupIP(ctx context.Context, network, host string) ([]net.IP, error) {
	if network != "ip" {
		return nil, errors.New("network " + network)
	}
	if err := s.fail(ctx, host); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ips[host]) == 0 {
		return nil, missing(host)
	}
	var all []net.IP
	for _, ip := range s.ips[host] {
		all = append(all, net.ParseIP(ip))
	}
	return all, nil
}

func (s *fakeResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if err := s.fail(ctx, name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.txt[name]) == 0 {
		return nil, missing(name)
	}
	return slices.Clone(s.txt[name]), nil
}

// set changes records while a Run may be looking.
func (s *fakeResolver) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func newFakeResolver() *fakeResolver {
	return &fakeResolver{
		ips: map[string][]string{
			"login.example":  {"192.0.2.1", "2001:db8::1"},
			"pub.example":    {"192.0.2.2"},
			"secret.example": {"192.0.2.3"},
			"half.example":   {"192.0.2.4"},
		},
		txt:  map[string][]string{"share.example": {"50"}},
		errs: map[string]error{},
		hang: map[string]bool{},
	}
}

func newService(t *testing.T, r Resolver, published, unpublished string) *Service {
	t.Helper()
	s, err := New(Config{Published: published, Unpublished: unpublished, Resolver: r,
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask sends a request from an address and returns the names and addresses of the answer, the
// latter sorted; nil for an empty body.
func ask(t *testing.T, s *Service, remote, query string) map[string][]string {
	t.Helper()
	r := httptest.NewRequest("GET", "/bootstrap-dns"+query, nil)
	r.RemoteAddr = remote
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" ||
		w.Header().Get("Connection") != "close" {
		t.Errorf("status %d, headers %v", w.Code, w.Header())
	}
	if w.Body.Len() == 0 {
		return nil
	}
	var got map[string][]string
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("body %q: %v", w.Body, err)
	}
	for _, ips := range got {
		slices.Sort(ips)
	}
	return got
}

const client = "198.51.100.7:4000"

type byName = map[string][]string

var public = byName{"login.example": {"192.0.2.1", "2001:db8::1"}, "pub.example": {"192.0.2.2"}}

func TestNothingConfigured(t *testing.T) {
	s := newService(t, newFakeResolver(), "", " , ")
	s.Run(t.Context()) // returns, or the test hangs
	for _, q := range []string{"", "?q=login.example"} {
		if got := ask(t, s, client, q); got != nil {
			t.Errorf("%q: %v", q, got)
		}
	}
	if got, want := s.Stats(), (Stats{Requests: 2, UnpublishedMisses: 1, QueriedDomains: 1}); got != want {
		t.Errorf("%+v", got)
	}
}

func TestAnswers(t *testing.T) {
	r := newFakeResolver()
	s := newService(t, r, "login.example, pub.example,void.example",
		"secret.example,off.example/zero.example,nothing.example")
	r.ips["off.example"] = []string{"192.0.2.9"}
	r.txt["zero.example"] = []string{"0"}
	if got := ask(t, s, client, ""); got != nil {
		t.Errorf("before the first refresh: %v", got)
	}
	s.refresh(t.Context())
	for _, test := range []struct {
		query string
		want  byName
		stats Stats // beside Requests: 1
	}{
		{"", public, Stats{}},
		{"?q=", public, Stats{}},
		{"?q=pub.example", public, Stats{PublishedHits: 1}},
		{"?q=void.example", public, Stats{PublishedMisses: 1}},
		{"?q=random.example", public, Stats{UnpublishedMisses: 1}},
		{"?q=nothing.example", public, Stats{UnpublishedMisses: 1}},
		{"?q=secret.example", byName{"secret.example": {"192.0.2.3"}},
			Stats{UnpublishedHits: 1}},
		{"?q=off.example", public,
			Stats{UnpublishedHits: 1, UnpublishedPercentMisses: 1, UnpublishedMisses: 1}},
	} {
		before := s.Stats()
		if got := ask(t, s, client, test.query); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q: %v, want %v", test.query, got, test.want)
		}
		after := s.Stats()
		got := Stats{
			PublishedHits:            after.PublishedHits - before.PublishedHits,
			PublishedMisses:          after.PublishedMisses - before.PublishedMisses,
			UnpublishedHits:          after.UnpublishedHits - before.UnpublishedHits,
			UnpublishedMisses:        after.UnpublishedMisses - before.UnpublishedMisses,
			UnpublishedPercentMisses: after.UnpublishedPercentMisses - before.UnpublishedPercentMisses,
		}
		if got != test.stats || after.Requests != before.Requests+1 {
			t.Errorf("%q: counted %+v, want %+v", test.query, got, test.stats)
		}
	}
}

// The body is what derper writes: indented by tabs, addresses in their usual form.
func TestBody(t *testing.T) {
	r := newFakeResolver()
	s := newService(t, r, "pub.example", "")
	s.refresh(t.Context())
	const want = "{\n\t\"pub.example\": [\n\t\t\"192.0.2.2\"\n\t]\n}"
	if got := string(s.current.Load().body); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	r.errs["pub.example"] = missing("pub.example")
	s.refresh(t.Context())
	if got := string(s.current.Load().body); got != "{}" {
		t.Errorf("%q, want an empty object", got)
	}
}

func TestOverHTTP(t *testing.T) {
	s := newService(t, newFakeResolver(), "login.example,pub.example", "")
	s.refresh(t.Context())
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	res, err := http.Get(srv.URL + "/bootstrap-dns")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || !res.Close {
		t.Errorf("error %v, connection closed %v", err, res.Close)
	}
}

func TestFailureKeepsOldAnswers(t *testing.T) {
	r := newFakeResolver()
	r.txt["share.example"] = []string{"100"}
	s := newService(t, r, "login.example,pub.example", "secret.example/share.example")
	if !s.refresh(t.Context()) {
		t.Error("a refresh without a failure is not complete")
	}
	r.set(func() {
		for name := range r.ips {
			r.errs[name] = errServer
		}
		r.errs["share.example"] = errServer
	})
	if s.refresh(t.Context()) {
		t.Error("a refresh with failures is complete")
	}
	secret := byName{"secret.example": {"192.0.2.3"}}
	if got := ask(t, s, client, ""); !reflect.DeepEqual(got, public) {
		t.Errorf("published after a failure: %v", got)
	}
	if got := ask(t, s, client, "?q=secret.example"); !reflect.DeepEqual(got, secret) {
		t.Errorf("unpublished after a failure: %v", got)
	}

	// One name alone comes back, changed; another turns out not to exist any more.
	r.set(func() {
		delete(r.errs, "pub.example")
		r.ips["pub.example"] = []string{"192.0.2.77"}
		r.errs["login.example"] = missing("login.example")
	})
	s.refresh(t.Context())
	want := byName{"pub.example": {"192.0.2.77"}}
	if got := ask(t, s, client, ""); !reflect.DeepEqual(got, want) {
		t.Errorf("published after a change: %v", got)
	}
}

func TestPercentages(t *testing.T) {
	for name, test := range map[string]struct {
		texts []string
		want  int
	}{
		"none":              {nil, 0},
		"whole":             {[]string{"37"}, 37},
		"all":               {[]string{"100"}, 100},
		"the last counts":   {[]string{"10", "20"}, 20},
		"others are noise":  {[]string{"v=spf1 -all", "20", "101", "-1", "x"}, 20},
		"no whole number":   {[]string{"12.5"}, 0},
		"too large for int": {[]string{"99999999999999999999"}, 0},
	} {
		if got := parsePercent(test.texts); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

// TestPercentageEndsWithItsRecord tells a record that is taken away, which ends a rollout,
// from one that cannot be had at the moment, which leaves it as it is.
func TestPercentageEndsWithItsRecord(t *testing.T) {
	r := newFakeResolver()
	r.txt["share.example"] = []string{"100"}
	s := newService(t, r, "pub.example", "secret.example/share.example")
	percent := func() int {
		s.refresh(t.Context())
		return s.current.Load().unpublished["secret.example"].percent
	}
	if got := percent(); got != 100 {
		t.Errorf("%d, want 100", got)
	}
	r.errs["share.example"] = errServer
	if got := percent(); got != 100 {
		t.Errorf("after a failure %d, want 100", got)
	}
	r.errs["share.example"] = missing("share.example")
	if got := percent(); got != 0 {
		t.Errorf("without a record %d, want 0", got)
	}
}

// The draw is derper's, so that a rollout has the same clients on both. The table was made by
// the generator that both use, PCG seeded by the address in its 16-byte form.
func TestShareIsDerpers(t *testing.T) {
	for last, want := range []bool{4: true, 5: true, 6: false, 7: true, 8: false, 9: true, 10: true} {
		if last < 4 {
			continue
		}
		ap := netip.AddrPortFrom(netip.AddrFrom4([4]byte{1, 2, 3, byte(last)}), 567)
		if got := inShare(ap.String(), 50); got != want {
			t.Errorf("%v: %v, want %v", ap, got, want)
		}
	}
	for _, test := range []struct {
		remote  string
		percent int
		want    bool
	}{
		{"10.0.0.1:1234", 0, false}, {"10.0.0.1:1234", 100, true},
		{"", 0, false}, {"", 100, true}, {"", 50, false},
		{"10.0.0.1", 50, false}, {"pipe", 50, false}, {"127.0.0.1:1", 0, false},
		{"127.0.0.1:1", 100, true},
	} {
		if got := inShare(test.remote, test.percent); got != test.want {
			t.Errorf("%q at %d %%: %v, want %v", test.remote, test.percent, got, test.want)
		}
	}
}

func TestShareIsOfItsSize(t *testing.T) {
	const clients = 1 << 16
	for _, percent := range []int{1, 50, 90} {
		in := 0
		for i := range clients {
			addr := netip.AddrFrom4([4]byte{1, 2, byte(i >> 8), byte(i)})
			if inShare(netip.AddrPortFrom(addr, 1).String(), percent) {
				in++
			}
		}
		got := 100 * float64(in) / clients
		if got < float64(percent)-0.5 || got > float64(percent)+0.5 {
			t.Errorf("%.2f %% of clients, want %d %%", got, percent)
		}
	}
	tosses := map[bool]bool{}
	for range 100 {
		tosses[inShare("[::1]:9", 50)] = true
	}
	if len(tosses) != 2 {
		t.Error("loopback always gets the same result")
	}
}

func TestShareOverHTTP(t *testing.T) {
	s := newService(t, newFakeResolver(), "pub.example", "half.example/share.example")
	s.refresh(t.Context())
	want := map[string]byName{
		"1.2.3.4:567": {"half.example": {"192.0.2.4"}},
		"1.2.3.6:567": {"pub.example": {"192.0.2.2"}},
	}
	for remote, want := range want {
		if got := ask(t, s, remote, "?q=half.example"); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", remote, got, want)
		}
	}
}

func TestQueriedDomains(t *testing.T) {
	s := newService(t, newFakeResolver(), "", "")
	for _, q := range []string{"a.io", "b.io", "c.io", "d.io", "e.io", "e.io", "a.io"} {
		ask(t, s, client, "?q="+q)
	}
	ask(t, s, client, "?q="+strings.Repeat("x", nameBytesMax+1))
	if got := s.Stats().QueriedDomains; got != 5 {
		t.Errorf("%d, want 5", got)
	}
	for i := range 3 * queriedMax {
		ask(t, s, client, "?q="+url.QueryEscape(strings.Repeat("y", i%200+1)+string(rune('a'+i%26))))
		if got := s.Stats().QueriedDomains; got > queriedMax {
			t.Fatalf("%d names are remembered, more than %d", got, queriedMax)
		}
	}
}

// running lets Run go on until stop is called, which waits for its end.
func running(t *testing.T, s *Service) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	return func() { cancel(); <-ended }
}

// TestRun follows Run over half an hour of a clock that stands still while anything works.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeResolver()
		s := newService(t, r, "pub.example", "")
		stop := running(t, s)
		expect := func(after time.Duration, lookups int, addr string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			r.set(func() {
				if r.lookups != lookups {
					t.Errorf("%d lookups, want %d", r.lookups, lookups)
				}
			})
			if got := ask(t, s, client, ""); !reflect.DeepEqual(got["pub.example"], []string{addr}) {
				t.Errorf("%v, want %s", got, addr)
			}
		}
		expect(0, 1, "192.0.2.2")
		r.set(func() { r.ips["pub.example"] = []string{"192.0.2.99"} })
		expect(refreshEvery-time.Second, 1, "192.0.2.2")
		expect(time.Second, 2, "192.0.2.99")
		r.set(func() { r.errs["pub.example"] = errServer })
		expect(refreshEvery, 3, "192.0.2.99")
		expect(retryEvery, 4, "192.0.2.99")
		r.set(func() { r.hang["pub.example"] = true })
		expect(retryEvery+refreshTimeout, 5, "192.0.2.99")
		r.set(func() { clear(r.hang); clear(r.errs) })
		expect(retryEvery, 6, "192.0.2.99")
		expect(refreshEvery, 7, "192.0.2.99")
		stop()
	})
}

// TestAbsentNamesAreNotRetried: that a name or a TXT record does not exist is an answer, and no
// reason to look all names up again each minute; a failed lookup beside it is.
func TestAbsentNamesAreNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeResolver()
		s := newService(t, r, "pub.example,absent.example", "secret.example/no.share.example")
		stop := running(t, s)
		const each = 4 // lookups of a refresh
		expect := func(after time.Duration, refreshes int) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			r.set(func() {
				if r.lookups != each*refreshes {
					t.Errorf("%d lookups, want %d refreshes of %d", r.lookups, refreshes, each)
				}
			})
		}
		expect(0, 1)
		expect(refreshEvery-time.Second, 1)
		r.set(func() { r.errs["pub.example"] = errServer })
		expect(time.Second, 2)
		expect(retryEvery, 3)
		r.set(func() { r.errs["pub.example"] = missing("pub.example") })
		expect(retryEvery, 4)
		expect(refreshEvery-time.Second, 4)
		expect(time.Second, 5)
		stop()
	})
}

// One dead name must not keep the others from being looked up.
func TestDeadNameHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFakeResolver()
		r.hang["dead.example"] = true
		s := newService(t, r, "dead.example,login.example,pub.example", "")
		if s.refresh(t.Context()) {
			t.Error("complete, with a dead name")
		}
		if got := ask(t, s, client, ""); !reflect.DeepEqual(got, public) {
			t.Errorf("%v", got)
		}
	})
}
