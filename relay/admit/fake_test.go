package admit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"derpd/relay/derp"
)

// patience bounds every wait of a test for something that must happen.
const patience = 10 * time.Second

func key(n byte) derp.Key { return derp.Key{31: n} }

func request(n byte) Request {
	return Request{Key: key(n), Remote: netip.MustParseAddrPort("192.0.2.7:4000")}
}

// fakeTailscaled is a tailscaled on a unix socket that knows some keys.
type fakeTailscaled struct {
	t      *testing.T
	socket string
	asked  atomic.Int32
	reply  atomic.Pointer[http.HandlerFunc] // instead of what it knows, if set
	known  sync.Map                         // of derp.Key
}

func startTailscaled(t *testing.T, known ...byte) *fakeTailscaled {
	t.Helper()
	f := &fakeTailscaled{t: t, socket: filepath.Join(t.TempDir(), "d.sock")}
	for _, n := range known {
		f.known.Store(key(n), true)
	}
	f.start()
	return f
}

// start listens until the end of the test, or until the server is closed.
func (f *fakeTailscaled) start() *httptest.Server {
	f.t.Helper()
	ln, err := net.Listen("unix", f.socket)
	if err != nil {
		f.t.Fatal(err)
	}
	srv := &httptest.Server{Listener: ln, Config: &http.Server{Handler: f}}
	srv.Start()
	f.t.Cleanup(srv.Close)
	return srv
}

func (f *fakeTailscaled) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.asked.Add(1)
	if reply := f.reply.Load(); reply != nil {
		(*reply)(w, r)
		return
	}
	if r.URL.Path == "/localapi/v0/status" && r.URL.RawQuery == "peers=false" {
		fmt.Fprintf(w, `{"BackendState":"Running","Self":{"PublicKey":%q}}`, key(ownNode))
		return
	}
	if r.Method != "GET" || r.URL.Path != "/localapi/v0/whois" ||
		r.Host != "local-tailscaled.sock" {
		f.t.Errorf("asked for %s %s of host %s", r.Method, r.URL, r.Host)
	}
	k, err := derp.ParseKey(r.FormValue("addr"))
	if err != nil {
		f.t.Errorf("addr=%q: %v", r.FormValue("addr"), err)
	}
	if _, ok := f.known.Load(k); !ok {
		http.Error(w, "no match for IP:port", http.StatusNotFound)
		return
	}
	fmt.Fprintf(w, `{"Node":{"Key":%q},"UserProfile":{},"CapMap":null}`, k)
}

func (f *fakeTailscaled) replyWith(h http.HandlerFunc) { f.reply.Store(&h) }

// asked is what a fake controller was posted.
type asked struct{ NodePublic, Source string }

// fakeController is an admission controller that admits what allow says.
type fakeController struct {
	*httptest.Server
	mu    sync.Mutex
	asked []asked
}

func startController(t *testing.T, reply http.HandlerFunc) *fakeController {
	t.Helper()
	f := &fakeController{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var a asked
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &a)
		}
		if err != nil || r.Method != "POST" || r.Header["Content-Type"] != nil {
			t.Errorf("%s %q, Content-Type %q: %v", r.Method, body, r.Header["Content-Type"], err)
		}
		f.mu.Lock()
		f.asked = append(f.asked, a)
		f.mu.Unlock()
		reply(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeController) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

// text answers with a status and a body.
func text(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// gate holds handlers back until it is opened, which it is at the end of the test.
type gate struct {
	open    func()
	through chan struct{}
}

func newGate(t *testing.T) *gate {
	g := &gate{through: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.through) })
	t.Cleanup(g.open)
	return g
}

func (g *gate) before(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-g.through:
		case <-r.Context().Done(): // the checker has given up
		}
		h(w, r)
	}
}

// clock is a clock that a test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func newClock(c *Checker) *clock {
	k := &clock{t: time.Unix(1_700_000_000, 0)}
	c.now = k.now
	for _, b := range []*backend{c.tailscaled, c.url} {
		if b != nil {
			b.now = k.now
		}
	}
	return k
}

func newChecker(t *testing.T, cfg Config) *Checker {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func expect(t *testing.T, c *Checker, r Request, want Reason) {
	t.Helper()
	allowed, why := c.Check(t.Context(), r)
	if why != want || allowed != want.Allows() {
		t.Errorf("key %d: %v, %v, want %v", r.Key[31], allowed, why, want)
	}
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// journal is a log that a test reads.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(b)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// take returns the lines since the last take.
func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	text := strings.TrimSpace(j.buf.String())
	j.buf.Reset()
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
