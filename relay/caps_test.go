package relay

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"derpd/relay/derp"
)

// TestConnectionCap: one more than may be is closed without a word, and takes no place.
func TestConnectionCap(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{MaxConnections: 4})
		others := r.bystand(t)
		third, fourth := r.login(t, 3), r.login(t, 4)
		for range 10 {
			r.wantEnd(t, []Reason{EndConnectionCap}, func() {
				if b := readAll(t, r.tcp(t)); len(b) > 0 {
					t.Errorf("told %q", b)
				}
			})
		}
		others.check(t, true)
		third.Close()
		waitFor(t, "a place", func() bool { return r.Snapshot().Connections == 3 })
		again := r.login(t, 3)
		if err := exchange(again, fourth, testPacket(1)); err != nil {
			t.Fatal(err)
		}
	})
}

// TestAcceptLimit: connections beyond the rate are closed at once; those that are there stay.
func TestAcceptLimit(t *testing.T) { onEngines(t, testAcceptLimit) }

func testAcceptLimit(t *testing.T) {
	r := startLive(t, true, Config{AcceptsPerSecond: 1e-6, AcceptBurst: 3})
	others := r.bystand(t)
	r.login(t, 1)
	for range 3 {
		r.wantEnd(t, []Reason{EndAcceptLimit}, func() { readAll(t, r.tcp(t)) })
	}
	others.check(t, true)
}

// TestHandshakeCap: while as many handshakes as may be are in flight, another is refused.
func TestHandshakeCap(t *testing.T) { onEngines(t, testHandshakeCap) }

func testHandshakeCap(t *testing.T) {
	r := startLive(t, true, Config{MaxHandshakes: 2})
	others := r.bystand(t)
	var waiting []net.Conn
	for range 2 {
		c := r.tcp(t)
		c.Write(clientHello())
		io.ReadFull(c, make([]byte, 100)) // the server's flight; nothing more comes of it
		waiting = append(waiting, c)
	}
	if n := r.Snapshot().InHandshake; n != 2 {
		t.Fatalf("%d handshakes in flight, want 2", n)
	}
	idle := r.tcp(t) // without a hello it takes no place
	for range 5 {
		r.wantEnd(t, []Reason{EndHandshakeCap}, func() {
			c := r.tcp(t)
			c.Write(clientHello())
			readAll(t, c)
		})
	}
	others.check(t, true)
	// Some of the flight is unread: the kernel may make a reset of it.
	r.wantEnd(t, []Reason{EndPeerClosed, EndPeerReset}, func() { waiting[0].Close() })
	waitFor(t, "a place", func() bool { return r.shared.handshakes.Load() == 1 })
	c, err := r.over(idle)
	if err != nil {
		t.Fatal(err)
	}
	r.loginOver(t, c, 1)
	if n := r.Snapshot(); n.InHandshake != 1 || n.Handshakes != 3 {
		t.Errorf("%d in flight, %d done; want 1 and 3", n.InHandshake, n.Handshakes)
	}
}

// getStatus asks for a page and returns the status of the answer, which it reads to the end.
func getStatus(t *testing.T, c net.Conn) int {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

// TestHTTPCap: beside as many HTTP conversations as may be, another is answered 503, and
// DERP goes on.
func TestHTTPCap(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{MaxHTTP: 2})
		others := r.bystand(t)
		kept := []net.Conn{r.stream(t), r.stream(t)}
		for _, c := range kept {
			if code := getStatus(t, c); code != 404 {
				t.Fatalf("answered %d, want the handler's 404", code)
			}
		}
		for range 3 {
			r.wantEnd(t, []Reason{EndHTTPCap}, func() {
				c := r.stream(t)
				if code := getStatus(t, c); code != http.StatusServiceUnavailable {
					t.Errorf("answered %d, want 503", code)
				}
				c.Close()
			})
		}
		others.check(t, true)
		if code := getStatus(t, kept[1]); code != 404 {
			t.Errorf("a kept-alive connection is answered %d", code)
		}
		r.wantEnd(t, []Reason{EndHTTPDone, EndPeerClosed}, func() { kept[0].Close() })
		waitFor(t, "a place", func() bool { return r.Snapshot().InHTTP == 1 })
		if code := getStatus(t, r.stream(t)); code != 404 {
			t.Errorf("with a place free, answered %d", code)
		}
	})
}

// TestHTTPIdle: connections that are kept and do nothing leave a quarter of the places to others, of
// which each ends with its answer.
func TestHTTPIdle(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{MaxHTTP: 4})
		kept := []net.Conn{r.stream(t), r.stream(t), r.stream(t)}
		for _, c := range kept {
			if code := getStatus(t, c); code != 404 {
				t.Fatalf("answered %d, want the handler's 404", code)
			}
		}
		for range 6 {
			r.wantEnd(t, []Reason{EndHTTPDone}, func() {
				c := r.stream(t)
				if code := getStatus(t, c); code != 404 {
					t.Errorf("answered %d, want the handler's 404", code)
				}
				if b := readAll(t, c); len(b) > 0 {
					t.Errorf("%q follows the answer", b)
				}
			})
		}
		for i, c := range kept {
			if code := getStatus(t, c); code != 404 {
				t.Errorf("kept connection %d is answered %d", i, code)
			}
		}
	})
}

// lineWriter passes on what a logger writes.
type lineWriter chan string

func (w lineWriter) Write(b []byte) (int, error) {
	w <- string(b)
	return len(b), nil
}

// TestPagePanicIsTold: at the level that is usual.
func TestPagePanicIsTold(t *testing.T) {
	logged := make(lineWriter, 100)
	r := startLive(t, false, Config{Logger: slog.New(slog.NewTextHandler(logged, nil)),
		HTTP: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a bug") })})
	c := r.stream(t)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
		t.Errorf("answered %q, %v", b, err)
	}
	for { // it is logged before the connection ends
		select {
		case line := <-logged:
			if strings.Contains(line, "a bug") {
				return
			}
		default:
			t.Fatal("the panic is not in the log")
		}
	}
}

// TestHTTPServerGone: when the HTTP server takes no connections any more, as in a shutdown,
// requests are refused and the loops go on.
func TestHTTPServerGone(t *testing.T) { onEngines(t, testHTTPServerGone) }

func testHTTPServerGone(t *testing.T) {
	r := startLive(t, false, Config{MaxHTTP: 1})
	others := r.bystand(t)
	r.http.Shutdown(t.Context())
	// The first request is handed over, and nobody comes for it: it leaves no room for others.
	first := r.tcp(t)
	io.WriteString(first, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	waitFor(t, "the request to be handed over", func() bool { return len(r.inlet.conns) == 1 })
	r.wantEnd(t, []Reason{EndPeerReset}, func() {
		first.SetLinger(0)
		first.Close()
	})
	if n := r.shared.http.Load(); n != 0 {
		t.Errorf("%d conversations, want none: all that follow are refused for the server", n)
	}
	for range 4 {
		r.wantEnd(t, []Reason{EndHTTPCap}, func() {
			c := r.tcp(t)
			if code := getStatus(t, c); code != http.StatusServiceUnavailable {
				t.Errorf("answered %d, want 503", code)
			}
			c.Close()
		})
	}
	others.check(t, true)
}

// TestSameKeyTwice: a second connection of a key gets its packets; when it leaves, the first
// does again, and a peer is told only of the last.
func TestSameKeyTwice(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		r := startLive(t, secure, Config{})
		first, peer := r.login(t, 1), r.login(t, 2)
		if err := exchange(first, peer, testPacket(1)); err != nil { // peer has heard from it
			t.Fatal(err)
		}
		second := r.login(t, 1)
		for n := range 20 {
			if err := exchange(peer, second, testPacket(n)); err != nil {
				t.Fatal(err)
			}
		}
		if s := r.Snapshot(); s.DupKeys != 1 || s.DupConns != 2 || s.DupConnections != 1 {
			t.Errorf("counted %d keys, %d connections, %d ever", s.DupKeys, s.DupConns,
				s.DupConnections)
		}
		r.wantEnd(t, []Reason{EndPeerClosed}, func() { second.Close() })
		if err := exchange(peer, first, testPacket(3)); err != nil {
			t.Fatal(err)
		}
		if err := exchange(first, peer, testPacket(4)); err != nil { // no PeerGone in between
			t.Fatal(err)
		}
		r.wantEnd(t, []Reason{EndPeerClosed}, func() { first.Close() })
		peer.want(t, derp.AppendPeerGone(nil, first.pub, derp.GoneDisconnected))
	})
}

// TestShutdownInHandshakes: connections at every stage before the login end with the relay: those
// that have said nothing, those whose hello waits for a worker, and those in mid-handshake. So do
// the coroutines of their handshakes, which startLive checks.
func TestShutdownInHandshakes(t *testing.T) { onEngines(t, testShutdownInHandshakes) }

func testShutdownInHandshakes(t *testing.T) {
	r := startLive(t, true, Config{Workers: 1})
	const each = 20
	hello := clientHello()
	for range each {
		c := r.tcp(t)
		c.Write(hello)
		io.ReadFull(c, make([]byte, 100)) // the server's flight; nothing more comes of it
	}
	held, gate := make(chan struct{}), make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	r.submit(func() { close(held); <-gate })
	<-held // the worker takes nothing more
	for range each {
		r.tcp(t).Write(hello)
		r.tcp(t)
	}
	waitFor(t, "all to be there", func() bool {
		return r.Snapshot().Connections == 3*each && r.shared.handshakes.Load() == 2*each
	})
	if n := len(r.work); n != each {
		t.Errorf("%d handshakes wait for the worker, want %d", n, each)
	}
	r.halt(t)
	if n := r.Snapshot().Ends[EndShutdown]; n != 3*each {
		t.Errorf("%d ended for %v, want %d", n, EndShutdown, 3*each)
	}
	if n := len(r.work); n != 2*each {
		t.Errorf("%d handshakes wait to be given up, want %d", n, 2*each)
	}
	open()
	waitFor(t, "the handshakes to be given up", func() bool {
		return r.shared.handshakes.Load() == 0
	})
}
