package interop

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
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
	// derper opens the socket a moment after the TCP port, derpd before it: until then a read is
	// refused at once.
	for deadline := time.Now().Add(harness.ReplyWaitMax); ; time.Sleep(harness.PollEvery) {
		c.Write(stun.Request(id))
		c.SetReadDeadline(time.Now().Add(time.Second))
		n, err := c.Read(b)
		if err == nil {
			b = b[:n]
			break
		}
		early := errors.Is(err, syscall.ECONNREFUSED) && r.Kind == harness.Derpd
		if early || time.Now().After(deadline) {
			t.Fatal(err)
		}
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
