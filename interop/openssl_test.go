package interop

import (
	"bytes"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"derpd/interop/harness"

	"tailscale.com/types/key"
)

// DERP through OpenSSL: its client carries the frames between this test and the relay, and
// rolls the traffic keys on command, alone and on both sides.
func TestOpenSSLKeyUpdate(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{TLS: true})
	other := r.Login(t)
	c := dialOpenSSL(t, r, "-tls1_3")
	p := harness.LoginOver(t, c, key.NewNode())
	exchange := func() {
		t.Helper()
		for _, n := range []int{1, 1400, 40_000} {
			packet := bytes.Repeat([]byte("z"), n) // never a command letter at the start
			other.SendTo(t, p.Key, packet)
			p.WantPacket(t, other.Key, packet)
			p.SendTo(t, other.Key, packet)
			other.WantPacket(t, p.Key, packet)
		}
	}
	exchange()
	for range 5 {
		c.command(t, "K\n") // roll our key and ask the relay to roll its own
		exchange()
		c.command(t, "k\n") // roll our key only
		exchange()
		c.command(t, "K\n")
		c.command(t, "K\n") // two in a row: two answers may be owed at once
		exchange()
	}
	if got := c.updates(); got != 20 {
		t.Errorf("s_client performed %d key updates, want 20", got)
	}
}

func TestOpenSSLVersions(t *testing.T) {
	t.Parallel()
	r := harness.Start(t, harness.Options{TLS: true})
	for _, flags := range [][]string{
		{"-tls1_2"},
		{"-tls1_3"},
		{"-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"},
		{"-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"},
		{"-tls1_3", "-groups", "P-384:X25519"}, // the first key share asks for a retry
		{"-tls1_3", "-max_send_frag", "512"},
		{"-tls1_3", "-record_padding", "4096"},
	} {
		p := harness.LoginOver(t, dialOpenSSL(t, r, flags...), key.NewNode())
		packet := bytes.Repeat([]byte("z"), 20_000)
		p.SendTo(t, p.Key, packet)
		p.WantPacket(t, p.Key, packet)
		p.Ping(t)
		p.Close()
	}
}

// opensslConn is an `openssl s_client` process as a net.Conn: what is written goes to its
// stdin, what the relay sends comes from its stdout.
type opensslConn struct {
	io.WriteCloser // its stdin
	stdout         io.Reader
	notes          harness.Log // its stderr
}

func dialOpenSSL(t *testing.T, r *harness.Relay, flags ...string) *opensslConn {
	t.Helper()
	args := append([]string{"s_client", "-connect", r.Addr, "-servername", harness.Hostname,
		"-CAfile", r.Certs.CAFile, "-verify_return_error", "-brief"}, flags...)
	cmd := exec.Command(harness.Need(t, "openssl"), args...)
	c := new(opensslConn)
	var err error
	if c.WriteCloser, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if c.stdout, err = cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = &c.notes
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("openssl %s:\n%s", strings.Join(args, " "), c.notes.Tail())
		}
	})
	return c
}

// updates counts the key updates s_client says it has started.
func (c *opensslConn) updates() int { return strings.Count(c.notes.String(), "KEYUPDATE") }

// command gives s_client a line. It is a command only if it arrives as a read of its own, so
// nothing else may be written until s_client has taken note of it.
func (c *opensslConn) command(t *testing.T, line string) {
	t.Helper()
	before := c.updates()
	if _, err := io.WriteString(c, line); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(harness.ReplyWaitMax)
	for c.updates() == before {
		if time.Now().After(deadline) {
			t.Fatalf("s_client did not take the command %q", line)
		}
		time.Sleep(time.Millisecond)
	}
}

func (c *opensslConn) Read(p []byte) (int, error)       { return c.stdout.Read(p) }
func (c *opensslConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *opensslConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *opensslConn) SetDeadline(time.Time) error      { return nil }
func (c *opensslConn) SetReadDeadline(time.Time) error  { return nil }
func (c *opensslConn) SetWriteDeadline(time.Time) error { return nil }
