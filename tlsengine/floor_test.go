package tlsengine

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkServer is the server's half of a handshake with the key exchange and the certificate
// that clients of today get (X25519MLKEM768, ECDSA P-256): server-ns/op is processor time, without
// the client's. bare is crypto/tls in a goroutine that lives on, which is the least that any
// program on top of it pays; engine is this package; the difference is ours. GOMAXPROCS=1 keeps
// other goroutines' time apart.
func BenchmarkServer(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		client := mustClient(b, clientConfig(ecdsaID()))
		sc := serverConfig(ecdsaID())
		sc.SessionTicketsDisabled = true
		b.ReportAllocs()
		var server time.Duration
		for b.Loop() {
			start := cpuTime(b)
			t := &turns{b: b, client: client.New(nil, nil)}
			if err := tls.Server(t, sc).Handshake(); err != nil {
				b.Fatal(err)
			}
			server += cpuTime(b) - start - t.spent
			t.client.Stop()
		}
		b.ReportMetric(float64(server.Nanoseconds())/float64(b.N), "server-ns/op")
	})
	b.Run("engine", func(b *testing.B) {
		client := mustClient(b, clientConfig(ecdsaID()))
		engine := mustServer(b, serverConfig(ecdsaID()))
		b.ReportAllocs()
		var server time.Duration
		for b.Loop() {
			hc := client.New(nil, nil)
			in, _, err := hc.Step(nil)
			start := cpuTime(b)
			hs := engine.New(nil, nil)
			for done := false; !done; {
				var out []byte
				if err == nil {
					out, done, err = hs.Step(in)
				}
				if err != nil {
					b.Fatal(err)
				}
				if !done {
					paused := cpuTime(b)
					in, _, err = hc.Step(out)
					start += cpuTime(b) - paused
				}
			}
			var s Session
			if _, _, err := hs.Finish(&s); err != nil {
				b.Fatal(err)
			}
			server += cpuTime(b) - start
			hc.Stop()
		}
		b.ReportMetric(float64(server.Nanoseconds())/float64(b.N), "server-ns/op")
	})
}

// turns is a connection whose other end is stepped by reading from it.
type turns struct {
	net.Conn
	b      testing.TB
	client *Handshake
	out    []byte // for the client
	in     []byte // from it
	spent  time.Duration
}

func (t *turns) Read(p []byte) (int, error) {
	if len(t.in) == 0 {
		start := cpuTime(t.b)
		in, _, err := t.client.Step(t.out)
		t.out = t.out[:0]
		t.in = append(t.in, in...)
		t.spent += cpuTime(t.b) - start
		if err != nil {
			return 0, err
		}
	}
	n := copy(p, t.in)
	t.in = t.in[n:]
	return n, nil
}

func (t *turns) Write(p []byte) (int, error) {
	t.out = append(t.out, p...)
	return len(p), nil
}

// cpuTime is what the process has used: timings are of a machine that does other things too.
func cpuTime(t testing.TB) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}
