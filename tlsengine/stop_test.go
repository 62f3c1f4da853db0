package tlsengine

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// coroutines counts the coroutines of handshakes there are in the process, by their stacks: the
// number of goroutines alone is a matter of how fast those of other tests end.
func coroutines() int {
	buf := make([]byte, 4<<20)
	return strings.Count(string(buf[:runtime.Stack(buf, true)]), "tlsengine.(*handshaker).run(")
}

// TestStop leaves handshakes at every stage and counts what is left of them.
func TestStop(t *testing.T) {
	server := mustServer(t, serverConfig(ecdsaID()))
	client := mustClient(t, clientConfig(ecdsaID()))
	steps := []struct {
		name   string
		parked int // coroutines of 20 clients and 20 servers
		run    func(t *testing.T, hc, hs *Handshake)
	}{
		{"unused", 0, func(*testing.T, *Handshake, *Handshake) {}},
		{"half a hello", 0, func(t *testing.T, hc, hs *Handshake) {
			step(t, hs, step(t, hc, nil)[:100])
			hc.Stop()
		}},
		{"server flight", 40, func(t *testing.T, hc, hs *Handshake) {
			step(t, hs, step(t, hc, nil))
		}},
		{"half a server flight", 40, func(t *testing.T, hc, hs *Handshake) {
			step(t, hc, step(t, hs, step(t, hc, nil))[:300])
		}},
		{"done but not finished", 0, func(t *testing.T, hc, hs *Handshake) {
			step(t, hs, step(t, hc, step(t, hs, step(t, hc, nil))))
		}},
		{"failed", 0, func(t *testing.T, hc, hs *Handshake) {
			if _, _, err := hs.Step([]byte("GET / HTTP/1.1\r\n\r\n")); err == nil {
				t.Error("HTTP is a handshake")
			}
		}},
	}
	for _, tc := range steps {
		t.Run(tc.name, func(t *testing.T) {
			var all []*Handshake
			for range 20 {
				hc, hs := client.New(nil, nil), server.New(nil, nil)
				tc.run(t, hc, hs)
				all = append(all, hc, hs)
			}
			if n := coroutines(); n != tc.parked {
				t.Errorf("%d coroutines are parked, want %d", n, tc.parked)
			}
			var wg sync.WaitGroup // another goroutine than the one that stepped
			wg.Go(func() {
				for _, h := range all {
					h.Stop()
					h.Stop()
					if _, _, err := h.Step(nil); !errors.Is(err, ErrHandshakeOver) {
						t.Errorf("Step after Stop: %v", err)
					}
					if _, _, err := h.Finish(new(Session)); !errors.Is(err, ErrHandshakeOver) {
						t.Errorf("Finish after Stop: %v", err)
					}
				}
			})
			wg.Wait()
			if n := coroutines(); n != 0 {
				t.Errorf("%d coroutines are left", n)
			}
		})
	}
}

func step(t *testing.T, h *Handshake, in []byte) []byte {
	t.Helper()
	out, _, err := h.Step(in)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(out)
}

// TestStopAfterFinish: the handshaker may already serve somebody else.
func TestStopAfterFinish(t *testing.T) {
	server := mustServer(t, serverConfig(ecdsaID()))
	client := mustClient(t, clientConfig(ecdsaID()))
	hc, hs := client.New(nil, nil), server.New(nil, nil)
	if _, _, err := hs.Finish(new(Session)); !errors.Is(err, ErrHandshakeUndone) {
		t.Errorf("Finish of a new handshake: %v", err)
	}
	toServer := step(t, hc, step(t, hs, step(t, hc, nil)))
	step(t, hs, append(toServer, "and more"...))
	step(t, hs, []byte(" after done"))
	var c, s Session
	rest, _, err := hs.Finish(&s)
	if err != nil || string(rest) != "and more after done" {
		t.Fatalf("rest %q, %v", rest, err)
	}
	if _, _, err := hc.Finish(&c); err != nil {
		t.Fatal(err)
	}
	next := make([]*Handshake, 8)
	for i := range next {
		next[i] = server.New(nil, nil)
	}
	hs.Stop()
	for _, h := range next {
		hello := client.New(nil, nil)
		step(t, h, step(t, hello, nil))
		hello.Stop()
		h.Stop()
	}
	if err := exchange(&c, &s); err != nil {
		t.Error(err)
	}
}

// TestCallbacksThatFail: an error and a panic out of GetCertificate end one handshake.
func TestCallbacksThatFail(t *testing.T) {
	mode := ""
	var kept net.Conn
	server := mustServer(t, &tls.Config{
		GetCertificate: func(i *tls.ClientHelloInfo) (*tls.Certificate, error) {
			kept = i.Conn
			switch mode {
			case "panic":
				panic("no certificate today")
			case "error":
				return nil, errors.New("no certificate today")
			}
			cert := ecdsaID().cert
			return &cert, nil
		},
	})
	client := mustClient(t, clientConfig(ecdsaID()))
	for _, mode = range []string{"panic", "error", ""} {
		hc, hs := client.New(nil, nil), server.New(nil, nil)
		out, done, err := hs.Step(step(t, hc, nil))
		if mode == "" {
			if err != nil || len(out) == 0 {
				t.Errorf("handshake after a panic: %v", err)
			}
		} else if err == nil || done || !strings.Contains(err.Error(), "no certificate today") {
			t.Errorf("%s: done %v, %v", mode, done, err)
		}
		var p *PanicError
		if errors.As(err, &p) != (mode == "panic") {
			t.Errorf("%s: %T", mode, err)
		}
		hc.Stop()
		hs.Stop()
		if _, err := kept.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read of a connection kept by a callback: %v", err)
		}
		if _, err := kept.Write([]byte{1}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write of a connection kept by a callback: %v", err)
		}
	}
	if n := coroutines(); n != 0 {
		t.Errorf("%d coroutines are left", n)
	}
}

// TestTooLong: a client that sends a hello of 64 KiB in small records is cut off, before that takes
// more memory than is planned for a handshake (Config.MaxHandshakes of the relay: 21 KB each).
func TestTooLong(t *testing.T) {
	h := mustServer(t, serverConfig(ecdsaID())).New(nil, nil)
	defer h.Stop()
	rec := append([]byte{recordHandshake, 3, 1, 0, 100}, pattern(100)...)
	copy(rec[5:], []byte{1, 0, 0xff, 0xf0})
	for i := range 1000 {
		if _, _, err := h.Step(rec); err != nil {
			if !errors.Is(err, ErrHandshakeTooLong) || i*len(rec) > 21_000 ||
				i != serverInputBytesMax/len(rec) {
				t.Errorf("record %d: %v", i, err)
			}
			return
		}
		copy(rec[5:], "....")
	}
	t.Error("never cut off")
}

// TestLongestHonestHello: two hellos of 8 KiB, the second on the server's request, are no attack.
func TestLongestHonestHello(t *testing.T) {
	cc := clientConfig(ecdsaID())
	for i := range 28 {
		cc.NextProtos = append(cc.NextProtos, fmt.Sprintf("%0*d", 250, i))
	}
	sc := serverConfig(ecdsaID())
	sc.CurvePreferences = []tls.CurveID{tls.CurveP384} // of which the client sends no share at first
	hc := mustClient(t, cc).New(nil, nil)
	hs := mustServer(t, sc).New(nil, nil)
	defer hc.Stop()
	defer hs.Stop()
	sent := 0
	for b, turn := []byte(nil), 0; turn < 2; turn++ {
		hello := step(t, hc, b)
		sent += len(hello)
		b = step(t, hs, hello)
	}
	if sent < 15_500 {
		t.Errorf("two hellos had %d bytes: nothing is tested", sent)
	}
}

// TestManyAtOnce: handshakes wander between workers; under -race this is the test of the rules.
func TestManyAtOnce(t *testing.T) {
	server := mustServer(t, serverConfig(ecdsaID()))
	client := mustClient(t, clientConfig(ecdsaID()))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				var c, s Session
				if err := handshakeInMemory(client, server, &c, &s); err != nil {
					t.Error(err)
				} else if err := exchange(&c, &s); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()

	// Each step by a goroutine of its own.
	hc, hs := client.New(nil, nil), server.New(nil, nil)
	var b []byte
	for _, h := range []*Handshake{hc, hs, hc, hs} {
		wg.Go(func() { b = step(t, h, b) })
		wg.Wait()
	}
	wg.Go(func() {
		var s Session
		if _, _, err := hs.Finish(&s); err != nil {
			t.Error(err)
		}
		hc.Stop()
	})
	wg.Wait()
}
