package relay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"derpd/relay/derp"
)

// pages is an HTTP handler with what the tests of the bridge need.
type pages struct {
	mux     *http.ServeMux
	started chan struct{} // /wait has begun
	release chan struct{} // and ends when this is closed
	failed  chan error    // what /endless could not write
}

func newPages() *pages {
	p := &pages{mux: http.NewServeMux(), started: make(chan struct{}, 1),
		release: make(chan struct{}), failed: make(chan error, 1)}
	p.mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s", r.URL.RawQuery)
	})
	p.mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		io.CopyN(w, &pattern{}, int64(n))
	})
	p.mux.HandleFunc("/sum", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		fmt.Fprintf(w, "%d %x %v", n, h.Sum(nil), err)
	})
	p.mux.HandleFunc("/who", func(w http.ResponseWriter, r *http.Request) {
		local := r.Context().Value(http.LocalAddrContextKey)
		fmt.Fprintf(w, "%v %v %v", r.RemoteAddr, local, r.TLS != nil && r.TLS.HandshakeComplete)
	})
	p.mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		p.started <- struct{}{}
		<-p.release
		io.CopyN(w, &pattern{}, waitedBytes)
	})
	p.mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		_, err := io.Copy(w, &pattern{})
		p.failed <- err
	})
	p.mux.HandleFunc("/read-by", func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, err := io.ReadAll(r.Body)
		fmt.Fprint(w, errors.Is(err, os.ErrDeadlineExceeded))
	})
	return p
}

const waitedBytes = 1_000_000

// pattern reads as bytes that depend on their place.
type pattern struct{ at uint32 }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(p.at ^ p.at>>8 ^ p.at>>16)
		p.at++
	}
	return len(b), nil
}

func patternSum(n int64) string {
	h := sha256.New()
	io.CopyN(h, &pattern{}, n)
	return fmt.Sprintf("%x", h.Sum(nil))
}

// client returns an HTTP client whose connections are counted.
func (r *liveRelay) client(t *testing.T) (c *http.Client, base string, dials func() int) {
	var mu sync.Mutex
	var n int
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			mu.Lock()
			n++
			mu.Unlock()
			return new(net.Dialer).DialContext(ctx, network, r.addr)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	base = "http://relay.test"
	if r.secure {
		base = "https://relay.test"
	}
	return &http.Client{Transport: tr, Timeout: 2 * patience}, base, func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// body reads a response.
func body(t *testing.T, answer *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestBridgeKeepAlive(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{HTTP: newPages().mux})
		c, base, dials := r.client(t)
		for n := range 30 {
			answer, err := c.Get(fmt.Sprint(base, "/hello?", n))
			if got := body(t, answer, err); got != fmt.Sprint("hello ", n) {
				t.Fatalf("got %q", got)
			}
		}
		if dials() != 1 {
			t.Errorf("%d connections for 30 requests", dials())
		}
		answer, err := c.Get(base + "/who")
		who := strings.Fields(body(t, answer, err))
		if host, _, _ := net.SplitHostPort(who[0]); host != "127.0.0.1" || who[1] != r.addr ||
			who[2] != fmt.Sprint(secure) {
			t.Errorf("the handler saw %v", who)
		}
		r.wantEnd(t, []Reason{EndHTTPDone}, func() {
			req, _ := http.NewRequest("GET", base+"/hello?x", nil)
			req.Close = true
			answer, err := c.Do(req)
			if got := body(t, answer, err); got != "hello x" || !answer.Close {
				t.Errorf("got %q, close %v", got, answer.Close)
			}
			c.CloseIdleConnections()
		})
	})
}

func TestBridgePipelining(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{HTTP: newPages().mux})
		c := r.stream(t)
		const requests = 200
		var all strings.Builder
		for n := range requests {
			fmt.Fprintf(&all, "GET /hello?%d HTTP/1.1\r\nHost: x\r\n\r\n", n)
		}
		if _, err := io.WriteString(c, all.String()); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(c)
		for n := range requests {
			answer, err := http.ReadResponse(in, nil)
			if got := body(t, answer, err); got != fmt.Sprint("hello ", n) {
				t.Fatalf("answer %d is %q", n, got)
			}
		}
	})
}

// slowReader takes little at a time and rests in between, so that the relay must wait.
type slowReader struct {
	io.Reader
	rest time.Duration
	left int // how often it still rests
}

func (s *slowReader) Read(b []byte) (int, error) {
	if s.left > 0 {
		s.left--
		time.Sleep(s.rest)
		b = b[:min(len(b), 1000)]
	}
	return s.Reader.Read(b)
}

// TestBridgeLargeResponse: megabytes arrive whole, at a reader that does not keep up, while
// the relay holds a few parts of them at most.
func TestBridgeLargeResponse(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{HTTP: newPages().mux, WriteTimeout: 100 * time.Millisecond})
		others := r.bystand(t)
		c, base, _ := r.client(t)
		const n = 4 << 20
		answer, err := c.Get(fmt.Sprint(base, "/large?n=", n))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		// The first rest is longer than the time a DERP client may take nothing.
		time.Sleep(250 * time.Millisecond)
		h := sha256.New()
		slow := &slowReader{answer.Body, time.Millisecond, 100}
		if got, err := io.Copy(h, slow); got != n || err != nil {
			t.Fatalf("%d bytes arrived, %v", got, err)
		}
		if sum := fmt.Sprintf("%x", h.Sum(nil)); sum != patternSum(n) {
			t.Error("the response arrived with other content")
		}
		others.check(t, true)
	})
}

func TestBridgeLargeRequest(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{HTTP: newPages().mux})
		others := r.bystand(t)
		c, base, _ := r.client(t)
		for _, n := range []int64{0, 1, 20_000, 2 << 20} {
			want := fmt.Sprintf("%d %s <nil>", n, patternSum(n))
			answer, err := c.Post(base+"/sum", "x/y", io.LimitReader(&pattern{}, n))
			if got := body(t, answer, err); got != want {
				t.Errorf("chunked, %d bytes: %s", n, got)
			}
			var whole bytes.Buffer
			io.CopyN(&whole, &pattern{}, n)
			answer, err = c.Post(base+"/sum", "x/y", &whole)
			if got := body(t, answer, err); got != want {
				t.Errorf("%d bytes: %s", n, got)
			}
		}
		others.check(t, true)
	})
}

// TestBridgeHoldsBack: while a handler does not read, only some of a body is taken in.
func TestBridgeHoldsBack(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		p := newPages()
		p.mux.HandleFunc("/later", func(w http.ResponseWriter, r *http.Request) {
			p.started <- struct{}{}
			<-p.release
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err)
		})
		r := startLive(t, secure, Config{HTTP: p.mux})
		c, base, _ := r.client(t)
		const n = 4 << 20
		done := make(chan string, 1)
		go func() {
			answer, err := c.Post(base+"/later", "x/y", io.LimitReader(&pattern{}, n))
			if err != nil {
				done <- err.Error()
				return
			}
			b, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			done <- string(b)
		}()
		<-p.started
		var before, now uint64
		waitFor(t, "receiving to stand still", func() bool {
			before, now = now, received(r)
			return now > bridgeBytes && now == before
		})
		if now > 1<<20 {
			t.Errorf("%d bytes were taken in that nobody reads", now)
		}
		close(p.release)
		if got := <-done; got != fmt.Sprint(n, " <nil>") {
			t.Errorf("then the handler read %s", got)
		}
	})
}

// TestBridgeHalfClose: a client that ends its stream behind a request gets its answer.
func TestBridgeHalfClose(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{HTTP: newPages().mux})
		c := r.stream(t)
		r.wantEnd(t, []Reason{EndHTTPDone}, func() {
			io.WriteString(c, "GET /large?n=300000 HTTP/1.1\r\nHost: x\r\n\r\n")
			if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			answer, err := http.ReadResponse(bufio.NewReader(c), nil)
			if got := body(t, answer, err); len(got) != 300_000 {
				t.Errorf("%d bytes arrived", len(got))
			}
			if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
				t.Errorf("then %d bytes, %v; want an orderly end", len(b), err)
			}
		})
	})
}

func TestBridgeDeadlines(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		p := newPages()
		r := startLive(t, secure, Config{HTTP: p.mux})
		t.Run("write", func(t *testing.T) {
			c := r.stream(t) // which reads nothing
			r.wantEnd(t, []Reason{EndHTTPDone}, func() {
				io.WriteString(c, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
				if err := <-p.failed; !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the handler's writes ended with %v", err)
				}
				io.Copy(io.Discard, c)
			})
		})
		t.Run("read", func(t *testing.T) {
			c := r.stream(t)
			r.wantEnd(t, []Reason{EndHTTPDone}, func() {
				io.WriteString(c, "POST /read-by HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
				answer, err := http.ReadResponse(bufio.NewReader(c), nil)
				if got := body(t, answer, err); got != "true" {
					t.Errorf("deadline exceeded: %s", got)
				}
			})
		})
	})
}

// TestBridgeDeadlineMoves: what passed can be set anew, and what is in the past has passed.
func TestBridgeDeadlineMoves(t *testing.T) {
	_, ds, _ := newDoubles(t, 1, Config{})
	b := &bridge{loop: ds[0].l}
	b.changed.L = &b.mu
	read := func() error {
		_, err := b.Read(make([]byte, 10))
		return err
	}
	b.SetReadDeadline(time.Unix(1, 0))
	if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("past: %v", err)
	}
	b.SetDeadline(time.Now().Add(5 * time.Millisecond))
	if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("near: %v", err)
	}
	b.SetReadDeadline(time.Time{})
	b.mu.Lock()
	b.in = []byte("x")
	b.mu.Unlock()
	if err := read(); err != nil {
		t.Fatalf("none: %v", err)
	}
	waiting := make(chan error)
	go func() { waiting <- read() }()
	b.SetReadDeadline(time.Now().Add(time.Hour)) // replaced before it passes
	b.SetReadDeadline(time.Unix(1, 0))
	if err := <-waiting; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("moved while reading: %v", err)
	}
	b.SetDeadline(time.Time{})
	b.peerClosed()
	if err := read(); err != io.EOF {
		t.Fatalf("after the peer's end: %v", err)
	}
	b.Close()
	if _, err := b.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("write after Close: %v", err)
	}
}

// TestBridgeUpgradesLater: a connection that was kept alive becomes a DERP connection, with
// the login right behind the request or after the answer.
func TestBridgeUpgradesLater(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{HTTP: newPages().mux})
		peer := r.login(t, 50)
		for _, eager := range []bool{true, false} {
			c := r.stream(t)
			in := bufio.NewReader(c)
			for n := range 3 {
				fmt.Fprintf(c, "GET /hello?%d HTTP/1.1\r\nHost: x\r\n\r\n", n)
				answer, err := http.ReadResponse(in, nil)
				if got := body(t, answer, err); got != fmt.Sprint("hello ", n) {
					t.Fatalf("got %q", got)
				}
			}
			if in.Buffered() > 0 {
				t.Fatal("more was answered than asked for")
			}
			var w *wireClient
			if !eager {
				w = r.loginOver(t, c, 7)
			} else {
				key := testKey(7)
				info, shared := clientInfo(t, key, r.Public())
				self := key.Public()
				wire := append([]byte(upgradeRequest), info...)
				for n := range 5 {
					wire = derp.AppendSendPacket(wire, self, testPacket(n))
				}
				if _, err := c.Write(wire); err != nil {
					t.Fatal(err)
				}
				w = &wireClient{Conn: c, key: key, pub: self}
				w.readUpgraded(t, r)
				w.wantServerInfo(t, shared)
				for n := range 5 {
					w.want(t, derp.AppendRecvPacket(nil, self, testPacket(n)))
				}
			}
			for n := range 10 {
				if err := exchange(peer, w, testPacket(n)); err != nil {
					t.Fatal(err)
				}
			}
			waitFor(t, "the HTTP server to forget it", func() bool {
				return r.Snapshot().InHTTP == 0 && r.shared.http.Load() == 0
			})
			w.Close()
			peer.SetDeadline(time.Now().Add(patience))
		}
	})
}

// TestBridgeShutdown: a request under way is answered before the relay ends; nothing that
// served it remains, which startLive checks.
func TestBridgeShutdown(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		p := newPages()
		r := startLive(t, secure, Config{HTTP: p.mux})
		client := r.login(t, 1)
		idle := r.stream(t) // kept alive, with nothing under way
		io.WriteString(idle, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
		answer, err := http.ReadResponse(bufio.NewReader(idle), nil)
		body(t, answer, err)
		c := r.stream(t)
		io.WriteString(c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
		<-p.started
		halted := make(chan struct{})
		go func() {
			defer close(halted)
			r.halt(t)
		}()
		if b, err := io.ReadAll(idle); len(b) > 0 || err != nil {
			t.Errorf("the idle connection got %d bytes, %v", len(b), err)
		}
		select {
		case <-halted:
			t.Error("the relay ended before the request")
		default:
		}
		close(p.release)
		slow := &slowReader{c, 10 * time.Millisecond, 20}
		answer, err = http.ReadResponse(bufio.NewReader(slow), nil)
		sum := sha256.Sum256([]byte(body(t, answer, err)))
		if fmt.Sprintf("%x", sum) != patternSum(waitedBytes) {
			t.Error("the answer was cut off or altered")
		}
		<-halted
		if _, err := client.in.ReadByte(); err != io.EOF {
			t.Errorf("a DERP client was left with %v, want an orderly end", err)
		}
		last := r.Snapshot()
		if last.Ends[EndShutdown] == 0 || last.Clients != 0 {
			t.Errorf("the last snapshot has %d clients, %d ends for %v", last.Clients,
				last.Ends[EndShutdown], EndShutdown)
		}
	})
}

// TestBridgeShutdownDrains: a response whose end has not been sent when its handler is done
// is sent to the end, although the relay is stopping.
func TestBridgeShutdownDrains(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		p := newPages()
		parts := make(chan int, 1)
		p.mux.HandleFunc("/until-held-back", func(w http.ResponseWriter, r *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack() // for parts of a known size
			if err != nil {
				t.Error(err)
				return
			}
			n := 0
			for held := false; !held; held = heldBack(c.(*bridge)) {
				if _, err := c.Write(make([]byte, bridgeBytes)); err != nil {
					t.Error(err)
					break
				}
				n++
			}
			c.Close()
			parts <- n
		})
		r := startLive(t, secure, Config{HTTP: p.mux})
		var c net.Conn
		var wrote int64
		for try := 1; r.shared.answers.Load() == 0; try++ {
			if try > 10 {
				t.Fatal("the kernel has taken every response to its end")
			}
			if c != nil {
				c.Close()
			}
			c = r.stream(t)
			io.WriteString(c, "GET /until-held-back HTTP/1.1\r\nHost: x\r\n\r\n")
			wrote = int64(<-parts) * bridgeBytes
			waitFor(t, "the handler to be done", func() bool { return r.Snapshot().InHTTP == 0 })
		}
		halted := make(chan struct{})
		go func() {
			defer close(halted)
			r.halt(t)
		}()
		<-r.inlet.closed
		if n := r.shared.answers.Load(); n != 1 {
			t.Errorf("%d responses are still to be sent, want 1", n)
		}
		if n, err := io.Copy(io.Discard, c); n != wrote || err != nil {
			t.Errorf("%d bytes arrived of %d, %v", n, wrote, err)
		}
		<-halted
	})
}

// heldBack reports whether the loop cannot send the part of a response that it has, which it
// otherwise does within its turn.
func heldBack(b *bridge) bool {
	for until := time.Now().Add(50 * time.Millisecond); time.Now().Before(until); {
		b.mu.Lock()
		busy := b.busy
		b.mu.Unlock()
		if !busy {
			return false
		}
		time.Sleep(100 * time.Microsecond)
	}
	return true
}

// TestBridgeClientLeaves: a client that goes away while a handler writes frees the handler.
func TestBridgeClientLeaves(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		p := newPages()
		p.mux.HandleFunc("/on", func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(w, &pattern{})
			p.failed <- err
		})
		r := startLive(t, secure, Config{HTTP: p.mux})
		raw := r.tcp(t)
		c, err := r.over(raw)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET /on HTTP/1.1\r\nHost: x\r\n\r\n")
		io.ReadFull(c, make([]byte, 100_000))
		r.wantEnd(t, []Reason{EndPeerReset, EndKernel}, func() {
			raw.SetLinger(0)
			raw.Close()
			if err := <-p.failed; err == nil {
				t.Error("the handler could write to nobody")
			}
		})
	})
}
