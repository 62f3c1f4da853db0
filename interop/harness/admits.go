package harness

import (
	"bufio"
	"fmt"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// Admits logs in, reports whether the relay let the key in, and ends the connection. A relay
// that neither sends ServerInfo nor closes within ReplyWaitMax fails the test.
func (r *Relay) Admits(t testing.TB, k key.NodePrivate) bool {
	t.Helper()
	conn := r.Dial(t)
	defer conn.Close()
	fmt.Fprintf(conn, "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nDerp-Fast-Start: 1\r\n\r\n")
	c, err := derp.NewClient(k, conn,
		bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn)), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		m   derp.ReceivedMessage
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		m, err := c.Recv()
		answers <- answer{m, err}
	}()
	select {
	case a := <-answers:
		if _, in := a.m.(derp.ServerInfoMessage); a.err == nil && !in {
			t.Errorf("a login was answered by %T", a.m)
		}
		return a.err == nil
	case <-time.After(ReplyWaitMax):
		t.Fatalf("a login has no answer after %v", ReplyWaitMax)
	}
	return false
}
