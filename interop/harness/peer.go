package harness

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// Peer is one logged-in DERP connection driven by Tailscale's own client. A goroutine reads
// what arrives; Next hands it out in order.
type Peer struct {
	*derp.Client
	Private key.NodePrivate
	Key     key.NodePublic
	Conn    net.Conn // the stream under the DERP client: TCP, TLS or a pipe

	wmu      sync.Mutex
	bw       *bufio.Writer
	messages chan derp.ReceivedMessage // closed when the connection has ended
	alive    chan time.Time            // when KeepAlives came; they are no part of messages
	err      error                     // why; read it only after messages is closed
}

// Login opens a connection with a fresh key and waits for ServerInfo.
func (r *Relay) Login(t testing.TB, opts ...derp.ClientOpt) *Peer {
	t.Helper()
	return r.LoginAs(t, key.NewNode(), opts...)
}

// LoginAs is Login with a given key.
func (r *Relay) LoginAs(t testing.TB, k key.NodePrivate, opts ...derp.ClientOpt) *Peer {
	t.Helper()
	return LoginOver(t, r.Dial(t), k, opts...)
}

// LoginOver upgrades a stream that is ready for HTTP, logs in and waits for ServerInfo.
func LoginOver(t testing.TB, c net.Conn, k key.NodePrivate, opts ...derp.ClientOpt) *Peer {
	t.Helper()
	brw := bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c))
	if resp := Upgrade(t, brw); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %s", resp.Status)
	}
	p := NewPeer(t, c, brw, k, opts...)
	p.WantServerInfo(t)
	return p
}

// Upgrade asks for DERP and returns the answer.
func Upgrade(t testing.TB, brw *bufio.ReadWriter) *http.Response {
	t.Helper()
	fmt.Fprintf(brw, "GET /derp HTTP/1.1\r\nHost: %s\r\n"+
		"Upgrade: DERP\r\nConnection: Upgrade\r\n\r\n", Hostname)
	if err := brw.Flush(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(brw.Reader, nil)
	if err != nil {
		t.Fatalf("answer to the upgrade: %v", err)
	}
	return resp
}

// NewPeer speaks DERP over a stream already upgraded, with what brw holds of it, and does not
// wait for ServerInfo.
func NewPeer(
	t testing.TB, c net.Conn, brw *bufio.ReadWriter, k key.NodePrivate, opts ...derp.ClientOpt,
) *Peer {
	t.Helper()
	quiet := func(string, ...any) {}
	client, err := derp.NewClient(k, c, brw, quiet, opts...)
	if err != nil {
		t.Fatalf("DERP greeting: %v", err)
	}
	p := &Peer{
		Client: client, Private: k, Key: k.Public(), Conn: c, bw: brw.Writer,
		messages: make(chan derp.ReceivedMessage, peerQueueMessages),
		alive:    make(chan time.Time, peerQueueMessages),
	}
	t.Cleanup(func() { c.Close() })
	go p.read()
	return p
}

func (p *Peer) read() {
	defer close(p.messages)
	for {
		m, err := p.Recv()
		if err != nil {
			p.err = err
			return
		}
		switch m := m.(type) {
		case derp.KeepAliveMessage:
			p.alive <- time.Now()
		case derp.ReceivedPacket:
			m.Data = bytes.Clone(m.Data) // it is the client's until the next Recv
			p.messages <- m
		default:
			p.messages <- m
		}
	}
}

// Close ends the connection without a word.
func (p *Peer) Close() { p.Conn.Close() }

// Next returns the next message that is not a KeepAlive.
func (p *Peer) Next(t testing.TB) derp.ReceivedMessage {
	t.Helper()
	select {
	case m, ok := <-p.messages:
		if !ok {
			t.Fatalf("connection ended while a message was due: %v", p.err)
		}
		return m
	case <-time.After(ReplyWaitMax):
		t.Fatalf("no message within %v", ReplyWaitMax)
	}
	return nil
}

// NextOrEnd returns the next message that is not a KeepAlive, or false when the connection has
// ended instead.
func (p *Peer) NextOrEnd(t testing.TB) (m derp.ReceivedMessage, open bool) {
	t.Helper()
	m, open = p.NextOrEndWithin(t, ReplyWaitMax)
	if m == nil && open {
		t.Fatalf("neither message nor end within %v", ReplyWaitMax)
	}
	return m, open
}

// NextOrEndWithin is NextOrEnd that returns nil and true when nothing has happened for so long.
func (p *Peer) NextOrEndWithin(t testing.TB, d time.Duration) (derp.ReceivedMessage, bool) {
	t.Helper()
	select {
	case m, ok := <-p.messages:
		return m, ok
	case <-time.After(d):
		return nil, true
	}
}

// WantKeepAlive returns when the next KeepAlive came.
func (p *Peer) WantKeepAlive(t testing.TB, within time.Duration) time.Time {
	t.Helper()
	select {
	case at := <-p.alive:
		return at
	case <-time.After(within):
		t.Fatalf("no KeepAlive within %v", within)
	}
	return time.Time{}
}

// Pending returns what has arrived and was not asked for yet, without waiting.
func (p *Peer) Pending() []derp.ReceivedMessage {
	var all []derp.ReceivedMessage
	for {
		select {
		case m, ok := <-p.messages:
			if !ok {
				return all
			}
			all = append(all, m)
		default:
			return all
		}
	}
}

// WantServerInfo requires ServerInfo to be the next message.
func (p *Peer) WantServerInfo(t testing.TB) {
	t.Helper()
	if m, ok := p.Next(t).(derp.ServerInfoMessage); !ok {
		t.Fatalf("first message is %T, want ServerInfo", m)
	}
}

// WantPacket requires the next message to be this packet.
func (p *Peer) WantPacket(t testing.TB, from key.NodePublic, data []byte) {
	t.Helper()
	m := p.Next(t)
	packet, ok := m.(derp.ReceivedPacket)
	switch {
	case !ok:
		t.Fatalf("got %T %v, want a packet from %s", m, m, from.ShortString())
	case packet.Source != from:
		t.Fatalf("packet from %s, want %s", packet.Source.ShortString(), from.ShortString())
	case !bytes.Equal(packet.Data, data):
		t.Fatalf("packet of %d bytes starting %x, want %d bytes starting %x",
			len(packet.Data), head(packet.Data), len(data), head(data))
	}
}

// WantPeerGone requires the next message to say that a peer left.
func (p *Peer) WantPeerGone(t testing.TB, peer key.NodePublic, why derp.PeerGoneReasonType) {
	t.Helper()
	m := p.Next(t)
	if want := (derp.PeerGoneMessage{Peer: peer, Reason: why}); m != want {
		t.Fatalf("got %T %v, want PeerGone of %s, reason %d", m, m, peer.ShortString(), why)
	}
}

// Ping sends a ping and requires the next message to be its pong. The relay handles a
// connection's frames in order, so everything sent before it has then been taken.
func (p *Peer) Ping(t testing.TB) {
	t.Helper()
	if before := p.PingPast(t); len(before) > 0 {
		t.Fatalf("before the pong came %T %v", before[0], before)
	}
}

// PingPast sends a ping and returns the messages that come before its pong.
func (p *Peer) PingPast(t testing.TB) (before []derp.ReceivedMessage) {
	t.Helper()
	var data [8]byte
	rand.Read(data[:])
	if err := p.SendPing(data); err != nil {
		t.Fatal(err)
	}
	for {
		m := p.Next(t)
		if m == derp.PongMessage(data) {
			return before
		}
		before = append(before, m)
	}
}

// SendTo sends a packet and fails the test if the connection does not take it.
func (p *Peer) SendTo(t testing.TB, dst key.NodePublic, data []byte) {
	t.Helper()
	if err := p.Send(dst, data); err != nil {
		t.Fatal(err)
	}
}

// WriteFrame sends one frame of any type and body past the client's checks. Tests that use it
// do not use the client's own senders at the same time.
func (p *Peer) WriteFrame(t testing.TB, typ derp.FrameType, body []byte) {
	t.Helper()
	p.wmu.Lock()
	defer p.wmu.Unlock()
	if err := derp.WriteFrame(p.bw, typ, body); err != nil && !hungUp(err) {
		t.Fatal(err)
	}
}

// WantClosed requires the relay to end the connection, whatever messages come before.
func (p *Peer) WantClosed(t testing.TB) {
	t.Helper()
	deadline := time.After(ReplyWaitMax)
	for {
		select {
		case _, ok := <-p.messages:
			if ok {
				continue
			}
			if errors.Is(p.err, os.ErrDeadlineExceeded) {
				t.Fatalf("the connection was not closed: %v", p.err)
			}
			return
		case <-deadline:
			t.Fatalf("the connection is still open after %v", ReplyWaitMax)
		}
	}
}

// WantClosed requires the other side to end a bare stream, and returns what it wrote before.
func WantClosed(t testing.TB, c net.Conn, within time.Duration) []byte {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(within))
	b, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection is still open after %v; it sent %q", within, b)
	}
	return b
}

// hungUp reports whether a write failed because the relay had already closed the connection.
func hungUp(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

func head(b []byte) []byte { return b[:min(len(b), 16)] }

// Disco returns a packet that looks like path discovery: the relay classes it by the first six
// bytes and the length.
func Disco(n int) []byte {
	return slices.Concat([]byte("TS\xf0\x9f\x92\xac"), bytes.Repeat([]byte{7}, max(n, 62)-6))
}
