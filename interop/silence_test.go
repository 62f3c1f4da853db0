package interop

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"

	"derpd/interop/harness"

	"tailscale.com/derp"
)

// silences are the stages at which a connection may fall silent, and how long the relay puts
// up with it. derpd may be stricter than derper before it knows who is there.
var silences = []struct {
	name  string
	reach func(t *testing.T, tls, plain *harness.Relay) net.Conn
	after time.Duration // derpd may not cut before
	until time.Duration // and must have cut then
}{
	{"before TLS", func(t *testing.T, tls, _ *harness.Relay) net.Conn {
		return tls.DialTCP(t)
	}, 5 * time.Second, 35 * time.Second},
	{"within the ClientHello", func(t *testing.T, tls, _ *harness.Relay) net.Conn {
		c := tls.DialTCP(t)
		c.Write(clientHello(t, tls)[:100])
		return c
	}, 5 * time.Second, 35 * time.Second},
	{"after TLS", func(t *testing.T, tls, _ *harness.Relay) net.Conn {
		return tls.Dial(t)
	}, 5 * time.Second, 35 * time.Second},
	{"within the request, TLS", func(t *testing.T, tls, _ *harness.Relay) net.Conn {
		c := tls.Dial(t)
		io.WriteString(c, "GET /derp HTTP/1.1\r\nHost:")
		return c
	}, 5 * time.Second, 35 * time.Second},
	{"before the request, plain", func(t *testing.T, _, plain *harness.Relay) net.Conn {
		return plain.Dial(t)
	}, 5 * time.Second, 35 * time.Second},
	{"within the request, plain", func(t *testing.T, _, plain *harness.Relay) net.Conn {
		c := plain.Dial(t)
		io.WriteString(c, "GET /derp HTTP/1.1\r\nHost:")
		return c
	}, 5 * time.Second, 35 * time.Second},
	{"after the greeting, TLS", func(t *testing.T, tls, _ *harness.Relay) net.Conn {
		return greeted(t, tls.Dial(t))
	}, 8 * time.Second, 15 * time.Second},
	{"after the greeting, plain", func(t *testing.T, _, plain *harness.Relay) net.Conn {
		return greeted(t, plain.Dial(t))
	}, 8 * time.Second, 15 * time.Second},
	{"within the login", func(t *testing.T, _, plain *harness.Relay) net.Conn {
		c := greeted(t, plain.Dial(t))
		c.Write([]byte{byte(derp.FrameClientInfo), 0, 0, 0, 200, 1, 2, 3})
		return c
	}, 8 * time.Second, 15 * time.Second},
}

// greeted upgrades with fast start and reads the greeting.
func greeted(t *testing.T, c net.Conn) net.Conn {
	t.Helper()
	io.WriteString(c, fastRequest)
	br := bufio.NewReader(c)
	wantServerKey(t, br)
	br.Discard(40)
	return c
}

func TestSilenceIsCutOff(t *testing.T) {
	t.Parallel()
	long(t, "the relay's timers run for up to 30 s")
	tls := harness.Start(t, harness.Options{TLS: true})
	plain := harness.Start(t, harness.Options{})
	checkTLS, checkPlain := bystander(t, tls), bystander(t, plain)
	t.Run("stages", func(t *testing.T) {
		for _, silence := range silences {
			t.Run(silence.name, func(t *testing.T) {
				t.Parallel()
				start := time.Now()
				c := silence.reach(t, tls, plain)
				harness.WantClosed(t, c, silence.until-time.Since(start))
				took := time.Since(start)
				t.Logf("cut off after %.1f s", took.Seconds())
				if took < silence.after {
					t.Errorf("cut off after %v, not before %v", took, silence.after)
				}
			})
		}
	})
	checkTLS()
	checkPlain()
}

// A client that is logged in may be silent for ever; it hears a KeepAlive each minute.
func TestIdleClientsAreKept(t *testing.T) {
	t.Parallel()
	long(t, "KeepAlive comes after 60 s")
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		start := time.Now()
		p := r.Login(t)
		took := p.WantKeepAlive(t, 75*time.Second).Sub(start)
		t.Logf("KeepAlive after %.1f s", took.Seconds())
		if took < 55*time.Second || took > 70*time.Second {
			t.Errorf("KeepAlive after %v, want 60 s and up to 5 s of jitter", took)
		}
		p.Ping(t)
	})
}

// A change of home is a move once a client has been there for five seconds; what it says on
// arrival is none.
func TestHomeMovesAreCounted(t *testing.T) {
	t.Parallel()
	long(t, "moves count after 5 s")
	r := harness.Start(t, harness.Options{})
	p := r.Login(t)
	p.NotePreferred(true)
	p.Ping(t)
	time.Sleep(6 * time.Second) // the client's age is the property under test
	r.WaitMetric(t, "derp_home_moves_in", harness.Is(0))
	for _, preferred := range []bool{true, false, false, true} { // only changes count
		p.NotePreferred(preferred)
	}
	p.Ping(t)
	r.WaitMetric(t, "derp_home_moves_in", harness.Is(1))
	r.WaitMetric(t, "derp_home_moves_out", harness.Is(1))
}
