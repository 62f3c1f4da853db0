package interop

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"derpd/interop/harness"

	"tailscale.com/net/stun"
)

func TestSTUN(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{})
	c, err := net.Dial("udp", r.STUNAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id := stun.NewTxID()
	b := make([]byte, 1500)
	for range 3 { // the socket may open a moment after the TCP port
		c.Write(stun.Request(id))
		c.SetReadDeadline(time.Now().Add(time.Second))
		var n int
		if n, err = c.Read(b); err == nil {
			b = b[:n]
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	got, addr, err := stun.ParseResponse(b)
	if err != nil {
		t.Fatal(err)
	}
	if want := netip.MustParseAddrPort(c.LocalAddr().String()); got != id || addr != want {
		t.Errorf("transaction %x from %v, want %x and %v", got, addr, id, want)
	}

	// What is no binding request of a Tailscale node gets no answer.
	bent := stun.Request(id)
	bent[len(bent)-1] ^= 1 // the fingerprint
	for _, request := range [][]byte{nil, []byte("hello"), make([]byte, 20), bent} {
		c.Write(request)
	}
	id = stun.NewTxID()
	c.Write(stun.Request(id))
	b = b[:cap(b)]
	c.SetReadDeadline(time.Now().Add(harness.ReplyWaitMax))
	n, err := c.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("no answer after requests that are none")
	}
	if got, _, err := stun.ParseResponse(b[:n]); err != nil || got != id {
		t.Errorf("answer %x, %v; want the last request's", got, err)
	}
	r.WaitMetric(t, `stun_requests{disposition="success"}`, atLeast(2))
}
