package main

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"derpd/relay"
)

// dry is a listener whose kernel lacks what a connection needs, for some calls.
type dry struct {
	net.Listener
	lacks []error
}

func (d *dry) Accept() (net.Conn, error) {
	if len(d.lacks) > 0 {
		err := d.lacks[0]
		d.lacks = d.lacks[1:]
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: err}
	}
	return d.Listener.Accept()
}

// plainOn serves h by a plainServer with so many places.
func plainOn(t *testing.T, h http.Handler, places int, lacks ...error) (p *plainServer, addr string,
	log *slog.Logger, logged *lines) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	logged = &lines{}
	log = slog.New(slog.NewTextHandler(logged, nil))
	p = newPlainServer(&dry{ln, lacks}, places, log)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.serve(h)
	}()
	t.Cleanup(func() {
		p.shutdown(t.Context())
		<-ended
	})
	return p, ln.Addr().String(), log, logged
}

// askPlain sends a request on a new connection.
func askPlain(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	return c
}

func wantAnswer(t *testing.T, c net.Conn) {
	t.Helper()
	if b, err := io.ReadAll(c); err != nil || !bytes.HasPrefix(b, []byte("HTTP/1.1 200 OK")) ||
		!bytes.HasSuffix(b, []byte("a page")) {
		t.Errorf("answered %q, %v", b, err)
	}
}

func page(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a page") }

// TestPortEightyOutlastsLack: without descriptors and memory port 80 is tried again, and that is
// told once, with its end.
func TestPortEightyOutlastsLack(t *testing.T) {
	_, addr, _, logged := plainOn(t, http.HandlerFunc(page), 2, syscall.ENOMEM, syscall.EMFILE,
		syscall.ENOBUFS)
	wantAnswer(t, askPlain(t, addr))
	if log := logged.String(); strings.Count(log, "\n") != 2 ||
		strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, "cannot allocate memory") ||
		!strings.Contains(log, "remedy=") || !strings.Contains(log, "again") {
		t.Errorf("logged %s", log)
	}
}

// TestPortEightyIsBounded: beyond -max-http a connection waits until another has ended, or the
// listener is closed.
func TestPortEightyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		accepted := make(chan net.Conn, 10)
		ln := newPlainServer(pipes{}, 2, slog.New(slog.DiscardHandler)).ln
		go func() {
			defer close(accepted)
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				accepted <- c
			}
		}()
		for n := range 3 {
			synctest.Wait()
			if len(accepted) != 2 {
				t.Fatalf("%d connections at once after %d ends, want 2", len(accepted), n)
			}
			c := <-accepted
			c.Close()
			c.Close() // as net/http may: it frees one place
		}
		ln.Close()
		ln.Close()
		for range accepted { // ends, or the test hangs
		}
	})
}

// TestPortEightyIdle: connections that are kept and do nothing leave a quarter of the places to others,
// of which each ends with its answer.
func TestPortEightyIdle(t *testing.T) {
	_, addr, _, _ := plainOn(t, http.HandlerFunc(page), 4)
	ask := func() (*http.Response, net.Conn) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusOK {
			t.Errorf("answered %s", res.Status)
		}
		return res, c
	}
	for n := range 3 {
		if res, _ := ask(); res.Close {
			t.Errorf("connection %d is not kept", n)
		}
	}
	for range 6 {
		res, c := ask()
		if !res.Close {
			t.Fatal("the last place is kept by one that does nothing")
		}
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Error(err)
		}
	}
}

// pipes is a listener that always has a connection.
type pipes struct{}

func (pipes) Accept() (net.Conn, error) {
	c, _ := net.Pipe()
	return c, nil
}
func (pipes) Close() error   { return nil }
func (pipes) Addr() net.Addr { return nil }

// TestStopWaitsForPortEighty: a request under way is answered, and a connection without one holds
// nothing up.
func TestStopWaitsForPortEighty(t *testing.T) {
	began, leave := make(chan struct{}), make(chan struct{})
	p, addr, log, logged := plainOn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-leave
		page(w, r)
	}), 3)
	silent, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := askPlain(t, addr) // accepted behind the silent one
	<-began
	s := &server{log: log, plain: p, relay: relay.New(relay.Config{})}
	stopped := make(chan error)
	go func() { stopped <- s.stop(nil) }()
	if b, err := silent.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a silent connection read %d bytes, %v", b, err)
	}
	close(leave)
	wantAnswer(t, c)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if log := logged.String(); strings.Contains(log, "cut off") || !strings.Contains(log, "stopped") {
		t.Errorf("logged %s", log)
	}
}

// A port beside DERP that is in use is found before DERP's is bound: nobody connects to a relay that
// then ends, and who does connect finds the others open.
func TestListenOrder(t *testing.T) {
	tcpPort, udpPort := portsInUse(t)
	for name, args := range map[string][]string{
		"STUN": {"-http-port=-1", "-stun-port=" + udpPort},
		"HTTP": {"-http-port=" + tcpPort, "-stun=false"},
	} {
		c, err := parseFlags(append(args, "-a=127.0.0.1:0", "-certmode=self-signed",
			"-hostname=relay.example.com", "-c", filepath.Join(t.TempDir(), "key")))
		if err != nil {
			t.Fatal(err)
		}
		s := &server{cfg: c, log: slog.New(slog.DiscardHandler)}
		if err := s.listen(); err == nil {
			t.Errorf("%s: no error although its port is in use", name)
		}
		if len(s.lns) > 0 {
			t.Errorf("%s: DERP was bound before", name)
		}
	}
}

// portsInUse are ports of 127.0.0.1 that are bound until the test ends.
func portsInUse(t *testing.T) (tcpPort, udpPort string) {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	_, tcpPort, _ = net.SplitHostPort(tcp.Addr().String())
	_, udpPort, _ = net.SplitHostPort(udp.LocalAddr().String())
	return tcpPort, udpPort
}
