package interop

import (
	"bytes"
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"derpd/interop/harness"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

func TestPacketsReachTheirDestination(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		a, b, c := r.Login(t), r.Login(t), r.Login(t)
		a.SendTo(t, b.Key, []byte("a to b"))
		b.WantPacket(t, a.Key, []byte("a to b"))
		b.SendTo(t, c.Key, []byte("b to c"))
		c.WantPacket(t, b.Key, []byte("b to c"))
		c.SendTo(t, a.Key, []byte("c to a"))
		a.WantPacket(t, c.Key, []byte("c to a"))
		for _, p := range []*harness.Peer{a, b, c} {
			if rest := p.Pending(); len(rest) > 0 {
				t.Errorf("unexpected: %v", rest)
			}
		}
	})
}

func TestPacketsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		a, b := r.Login(t), r.Login(t)
		const window = 16 // below derper's queue of 32, so that none may be dropped
		for round := range 20 {
			for i := range window {
				a.SendTo(t, b.Key, bytes.Repeat([]byte{byte(round), byte(i)}, 500+i))
			}
			for i := range window {
				b.WantPacket(t, a.Key, bytes.Repeat([]byte{byte(round), byte(i)}, 500+i))
			}
		}
	})
}

func TestPacketSizes(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		a, b := r.Login(t), r.Login(t)
		for _, n := range []int{0, 1, 1400, 4096, 16383, 16384, 16385, 65535, derp.MaxPacketSize} {
			packet := make([]byte, n)
			for i := range packet {
				packet[i] = byte(i * 7)
			}
			a.SendTo(t, b.Key, packet)
			b.WantPacket(t, a.Key, packet)
		}
	})
}

func TestSendToSelf(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		a := r.Login(t)
		a.SendTo(t, a.Key, []byte("to myself"))
		a.WantPacket(t, a.Key, []byte("to myself"))
		large := bytes.Repeat([]byte("x"), derp.MaxPacketSize)
		a.SendTo(t, a.Key, large)
		a.WantPacket(t, a.Key, large)
	})
}

func TestPing(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		a := r.Login(t)
		for range 10 {
			a.Ping(t)
		}
	})
}

// A packet may be queued for a client before its ServerInfo is written; ServerInfo still comes
// first. A sender that never stops makes that likely.
func TestServerInfoComesFirst(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{})
	sender, target := r.Login(t), key.NewNode()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				if sender.Send(target.Public(), []byte("early")) != nil {
					return
				}
			}
		}
	}()
	for range 20 {
		r.LoginAs(t, target).Close() // LoginAs requires ServerInfo to be first
	}
	close(stop)
	<-stopped
}

// A node that only watches nothing hears nothing: no presence, no departures of strangers.
func TestOrdinaryClientsHearNothingOfOthers(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{})
	a := r.Login(t)
	for range 5 {
		b := r.Login(t)
		b.Close()
	}
	r.WaitMetric(t, "derp_current_connections", harness.Is(1))
	a.Ping(t)
}

// The whole of Tailscale's HTTP client: dialling, TLS, the meta certificate, reconnecting.
func TestDerphttpClient(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, r *harness.Relay) {
		a, b := newHTTPClient(t, r), newHTTPClient(t, r)
		for _, c := range []*derphttp.Client{a, b} {
			ctx, cancel := context.WithTimeout(context.Background(), harness.ReplyWaitMax)
			defer cancel()
			if err := c.Connect(ctx); err != nil {
				t.Fatal(err)
			}
			c.NotePreferred(true)
		}
		fromA, fromB := receive(a), receive(b)
		if m := wait(t, fromA); m != (derp.ServerInfoMessage{}) {
			t.Fatalf("first message %T, want ServerInfo", m)
		}
		if m := wait(t, fromB); m != (derp.ServerInfoMessage{}) {
			t.Fatalf("first message %T, want ServerInfo", m)
		}

		for i := range 10 {
			want := bytes.Repeat([]byte{byte(i)}, 1+i*100)
			if err := a.Send(b.SelfPublicKey(), want); err != nil {
				t.Fatal(err)
			}
			got, ok := wait(t, fromB).(derp.ReceivedPacket)
			if !ok || got.Source != a.SelfPublicKey() || !bytes.Equal(got.Data, want) {
				t.Fatalf("packet %d: got %v", i, got)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), harness.ReplyWaitMax)
		defer cancel()
		if err := a.Ping(ctx); err != nil { // answered through the receiving goroutine
			t.Fatal(err)
		}
		if a.ServerPublicKey() != b.ServerPublicKey() || a.ServerPublicKey().IsZero() {
			t.Errorf("server keys %v and %v", a.ServerPublicKey(), b.ServerPublicKey())
		}
		r.WaitMetric(t, "derp_current_home_connections", harness.Is(2))
	})
}

// newHTTPClient returns a client that dials by the relay's address but names Hostname.
func newHTTPClient(t *testing.T, r *harness.Relay) *derphttp.Client {
	t.Helper()
	c, err := derphttp.NewClient(key.NewNode(), r.URL("/derp"), logger.Discard, netmon.NewStatic())
	if err != nil {
		t.Fatal(err)
	}
	if r.TLS {
		c.TLSConfig = r.TLSConfig()
	}
	c.SetURLDialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, r.Addr)
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// receive hands out a client's messages in order until its first error.
func receive(c *derphttp.Client) <-chan derp.ReceivedMessage {
	out := make(chan derp.ReceivedMessage, 100)
	go func() {
		defer close(out)
		for {
			m, _, err := c.RecvDetail()
			if err != nil {
				return
			}
			if p, ok := m.(derp.ReceivedPacket); ok {
				p.Data = slices.Clone(p.Data)
				m = p
			}
			out <- m
		}
	}()
	return out
}

func wait(t *testing.T, from <-chan derp.ReceivedMessage) derp.ReceivedMessage {
	t.Helper()
	select {
	case m, ok := <-from:
		if !ok {
			t.Fatal("the connection ended while a message was due")
		}
		return m
	case <-time.After(harness.ReplyWaitMax):
		t.Fatal("no message")
	}
	return nil
}
