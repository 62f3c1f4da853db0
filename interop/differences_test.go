package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"derpd/interop/harness"

	"github.com/coder/websocket"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// differences are where docs/derper-parity.md says that derpd differs from derper in what a
// client or an operator sees: one probe for both, and what each is known to do.
var differences = []struct {
	name          string
	options       harness.Options
	probe         func(t *testing.T, r *harness.Relay) string
	derpd, derper string
}{
	{"a key leaves again", harness.Options{}, leavesAgain, "told", "not told"},
	{"empty X-Forwarded-For", harness.Options{}, emptyForwarded, "403", "200"},
	{"port 80 with a port in Host", harness.Options{TLS: true, HTTPPort: true}, redirectedPort,
		"https://relay.interop.test/x", "https://relay.interop.test:8080/x"},
	{"WebSocket message over 32 KiB", harness.Options{}, longMessage, "delivered", "closed"},
	{"SIGTERM", harness.Options{TLS: true}, terminated, "close_notify", "cut"},
	{"SIGHUP without -rate-config", harness.Options{}, hungUpOn, "goes on", "ends"},
	{"beyond the accept limit", harness.Options{TLS: true, Args: []string{
		"-accept-connection-limit=0.1", "-accept-connection-burst=3"}}, acceptedTooFast,
		"goes on", "ends"},
	{"certificate files replaced", harness.Options{TLS: true}, replacedFiles, "new", "old"},
	{"/debug/check with a duplicate", harness.Options{}, checkedDuplicate, "200", "500"},
	{"unknown frames in the metrics", harness.Options{}, countedUnknown, "1", "0"},
	{"drops in /debug/vars", harness.Options{}, dropsAsJSON, "map[string]interface {}", "string"},
}

// TestDifferences: each difference that is documented is one, and there for the reason given.
func TestDifferences(t *testing.T) {
	t.Parallel()
	for _, d := range differences {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			want := d.derper
			if harness.Under() == harness.Derpd {
				want = d.derpd
			}
			if got := d.probe(t, harness.Start(t, d.options)); got != want {
				t.Errorf("%s: %q, want %q", harness.Under(), got, want)
			}
		})
	}
}

// leavesAgain has a key come and leave twice; the departure of another key, which every relay
// tells, says that the second would have been told by then.
func leavesAgain(t *testing.T, r *harness.Relay) string {
	witness, k, other := r.Login(t), key.NewNode(), r.Login(t)
	leave := func() {
		leaver := r.LoginAs(t, k)
		hear(t, witness, leaver)
		leaver.Close()
		r.WaitMetric(t, "derp_current_connections", harness.Is(2))
	}
	hear(t, witness, other)
	leave()
	witness.WantPeerGone(t, k.Public(), derp.PeerGoneReasonDisconnected)
	leave()
	other.Close()
	for told := "not told"; ; told = "told" {
		gone, ok := witness.Next(t).(derp.PeerGoneMessage)
		switch {
		case !ok:
			t.Fatal("something else than PeerGone came")
		case gone.Peer == other.Key:
			return told
		}
	}
}

// status sends one request with these headers, as they are, and returns the status.
func status(t *testing.T, r *harness.Relay, path, headers string) string {
	c := r.Dial(t)
	c.SetDeadline(time.Now().Add(harness.ReplyWaitMax))
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", path, harness.Hostname, headers)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode)
}

func emptyForwarded(t *testing.T, r *harness.Relay) string {
	return status(t, r, "/debug/varz", "X-Forwarded-For:\r\n")
}

func redirectedPort(t *testing.T, r *harness.Relay) string {
	req, err := http.NewRequest("GET", "http://"+r.PortAddr+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = harness.Hostname + ":8080"
	resp, err := r.HTTP().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.Header.Get("Location")
}

// longMessage sends a packet as one message of 40 KB.
func longMessage(t *testing.T, r *harness.Relay) string {
	ctx, cancel := context.WithTimeout(t.Context(), harness.ReplyWaitMax)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, r.URL("/derp"), &websocket.DialOptions{
		Subprotocols: []string{"derp"}})
	if err != nil {
		t.Fatal(err)
	}
	ws.SetReadLimit(1 << 20)
	c := websocket.NetConn(ctx, ws, websocket.MessageBinary)
	p := harness.NewPeer(t, c, bufio.NewReadWriter(bufio.NewReader(c),
		bufio.NewWriterSize(c, 128<<10)), key.NewNode())
	p.WantServerInfo(t)
	packet := bytes.Repeat([]byte{7}, 40_000)
	p.SendTo(t, p.Key, packet)
	if m, open := p.NextOrEnd(t); open {
		if got, ok := m.(derp.ReceivedPacket); !ok || !bytes.Equal(got.Data, packet) {
			t.Fatalf("got %T", m)
		}
		return "delivered"
	}
	return "closed"
}

// tally counts the bytes that come in.
type tally struct {
	net.Conn
	n atomic.Int64
}

func (c *tally) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// terminated looks at the bytes of TLS, because Go's Read gives io.EOF without close_notify too.
func terminated(t *testing.T, r *harness.Relay) string {
	wire := &tally{Conn: r.DialTCP(t)}
	c := tls.Client(wire, r.TLSConfig())
	brw := bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c))
	if resp := harness.Upgrade(t, brw); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp.Status)
	}
	p := harness.NewPeer(t, c, brw, key.NewNode())
	p.WantServerInfo(t)
	p.Ping(t)
	before := wire.n.Load()
	r.Stop(t)
	if _, open := p.NextOrEnd(t); open {
		t.Fatal("a message after the end")
	}
	if wire.n.Load() > before {
		return "close_notify"
	}
	return "cut"
}

func hungUpOn(t *testing.T, r *harness.Relay) string {
	p := r.Login(t)
	if err := syscall.Kill(r.Pid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if _, open := p.NextOrEndWithin(t, 2*time.Second); !open && r.Ended(harness.ReplyWaitMax) {
		return "ends"
	}
	p.Ping(t)
	return "goes on"
}

// acceptedTooFast opens connections until one is closed before it has said anything.
func acceptedTooFast(t *testing.T, r *harness.Relay) string {
	first := r.Dial(t)
	for range 6 {
		c, err := net.DialTimeout("tcp", r.Addr, harness.ReplyWaitMax)
		if err != nil {
			break // nobody listens any more
		}
		defer c.Close()
	}
	if r.Ended(2 * time.Second) {
		return "ends"
	}
	fmt.Fprintf(first, "GET /derp/probe HTTP/1.1\r\nHost: %s\r\n\r\n", harness.Hostname)
	first.SetDeadline(time.Now().Add(harness.ReplyWaitMax))
	if _, err := http.ReadResponse(bufio.NewReader(first), nil); err != nil {
		t.Fatalf("the first connection: %v", err)
	}
	return "goes on"
}

// replacedFiles writes another certificate where the relay's is.
func replacedFiles(t *testing.T, r *harness.Relay) string {
	leaf := func() string {
		c, err := tls.Dial("tcp", r.Addr, &tls.Config{InsecureSkipVerify: true,
			ServerName: r.Hostname})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return string(c.ConnectionState().PeerCertificates[0].Raw)
	}
	before := leaf()
	harness.WriteCerts(t, r.Dir, r.Hostname)
	const promised = 5 * time.Second
	for deadline := time.Now().Add(promised + 2*time.Second); time.Now().Before(deadline); {
		if leaf() != before {
			return "new"
		}
		time.Sleep(100 * time.Millisecond)
	}
	return "old"
}

func checkedDuplicate(t *testing.T, r *harness.Relay) string {
	p := r.Login(t)
	r.LoginAs(t, p.Private).Ping(t)
	return status(t, r, "/debug/check", "")
}

func countedUnknown(t *testing.T, r *harness.Relay) string {
	p := r.Login(t)
	p.WriteFrame(t, frameUnknown, []byte("from a later version"))
	p.Ping(t)
	return fmt.Sprint(r.Metrics(t).Sum("derp_unknown_frames"))
}

// dropsAsJSON names the type of a member of /debug/vars.
func dropsAsJSON(t *testing.T, r *harness.Relay) string {
	_, body := r.Get(t, "/debug/vars")
	var vars map[string]any
	if err := json.NewDecoder(strings.NewReader(body)).Decode(&vars); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%T", vars["derp_packets_dropped"])
}
