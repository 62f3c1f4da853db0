package bench

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"derpd/relay/derp"
)

// client is one logged-in connection. It has no goroutine: what the relay sends an idle one
// (a keepalive a minute) waits in the kernel.
type client struct {
	conn net.Conn // reads and writes DERP frames
	wire *wire    // the TCP connection under it
	key  derp.Key
}

// close drops the connection without TLS's farewell, which could block.
func (c *client) close() {
	_ = c.wire.Close() // nothing is lost by a close that fails
}

func closeAll(all []*client) {
	for _, c := range all {
		if c != nil {
			c.close()
		}
	}
}

// request asks for a relay that does not wait to answer it.
const request = "GET /derp HTTP/1.1\r\nHost: " + hostName + "\r\nUpgrade: DERP\r\n" +
	"Connection: Upgrade\r\nDerp-Fast-Start: 1\r\n\r\n"

// login connects from the source address that client number index uses, and logs in under a
// new key.
func login(ctx context.Context, t *target, index int) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, loginWaitMax)
	defer cancel()
	source := 1 + index/sourceClientsMax
	d := net.Dialer{Control: bindLate,
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(source>>8), byte(source))}}
	raw, err := d.DialContext(ctx, "tcp4", t.addr)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: raw, fd: -1}
	c := &client{conn: w, wire: w}
	// Whatever waits below must end with ctx too.
	defer context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })()
	if err := c.shake(t); err != nil {
		c.close()
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", ctx.Err(), err)
		}
		return nil, err
	}
	return c, nil
}

// bindLate leaves the choice of the port to connect, which only needs it to be free for this
// destination; bind would want it free for all.
func bindLate(_, _ string, rc syscall.RawConn) error {
	var err error
	e := rc.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	return errors.Join(e, err)
}

// shake makes TLS, upgrade and login. A relay that shows its key in the TLS handshake gets
// request and login in one flight; else the login waits for the key in the greeting.
func (c *client) shake(t *target) error {
	var server derp.Key
	var known bool
	if !t.plain {
		tc := tls.Client(c.wire, t.tlsConfig())
		if err := tc.Handshake(); err != nil {
			return err
		}
		c.conn = tc
		for _, cert := range tc.ConnectionState().PeerCertificates {
			if k, _, ok := derp.KeyFromMetaCert(cert); ok {
				server, known = k, true
			}
		}
	}
	private, err := derp.NewPrivateKey(rand.Reader)
	if err != nil {
		return err
	}
	c.key = private.Public()
	out := []byte(request)
	if !known {
		if _, err := c.conn.Write(out); err != nil {
			return err
		}
		if server, err = c.greeting(); err != nil {
			return err
		}
		out = out[:0]
	}
	var nonce [derp.NonceLen]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return err
	}
	info := derp.ClientInfo{Version: derp.ProtocolVersion, CanAckPings: true}
	out, shared, err := derp.AppendClientInfo(out, private, server, info, nonce)
	if err != nil {
		return err
	}
	if _, err := c.conn.Write(out); err != nil {
		return err
	}
	if known {
		if k, err := c.greeting(); err != nil {
			return err
		} else if k != server {
			return fmt.Errorf("the greeting has key %v, the certificate %v", k, server)
		}
	}
	kind, b, err := c.frame()
	if err != nil {
		return fmt.Errorf("no answer to the login: %w", err)
	}
	if kind != derp.FrameServerInfo {
		return fmt.Errorf("the login was answered by %v", kind)
	}
	_, err = shared.OpenServerInfo(b)
	return err
}

func (c *client) greeting() (derp.Key, error) {
	kind, b, err := c.frame()
	if err != nil {
		return derp.Key{}, fmt.Errorf("no greeting: %w", err)
	}
	if kind != derp.FrameServerKey {
		return derp.Key{}, fmt.Errorf("a greeting of type %v", kind)
	}
	return derp.ParseServerKey(b)
}

// frame reads one frame and not a byte more.
func (c *client) frame() (derp.FrameType, []byte, error) {
	var h [derp.HeaderLen]byte
	if _, err := io.ReadFull(c.conn, h[:]); err != nil {
		return 0, nil, err
	}
	kind, n, _ := derp.Header(h[:])
	if err := derp.CheckLen(kind, n, derp.FromServer); err != nil {
		return 0, nil, fmt.Errorf("%w (it begins with %q)", err, h[:])
	}
	b := make([]byte, n)
	_, err := io.ReadFull(c.conn, b)
	return kind, b, err
}

// ping waits for the relay's echo and passes over what else has come meanwhile.
func (c *client) ping(number int) error {
	if err := c.wire.SetDeadline(time.Now().Add(loginWaitMax)); err != nil {
		return err
	}
	var data [derp.PingLen]byte
	binary.BigEndian.PutUint64(data[:], uint64(number))
	if _, err := c.conn.Write(derp.AppendPing(nil, data)); err != nil {
		return err
	}
	for {
		kind, b, err := c.frame()
		if err != nil {
			return err
		}
		if kind != derp.FramePong {
			continue
		}
		if got, err := derp.ParsePong(b); err != nil || got != data {
			return fmt.Errorf("ping %x came back as %x (%w)", data, b, err)
		}
		return nil
	}
}

// loginMany logs in n clients, some at a time. On an error it still returns those that are in,
// with nil in the place of the others.
func loginMany(ctx context.Context, t *target, n int) ([]*client, error) {
	all := make([]*client, n)
	err := each(ctx, n, func(ctx context.Context, i int) (err error) {
		all[i], err = login(ctx, t, i)
		return err
	})
	return all, err
}

// pingAll returns how many clients got their answer, and the first error.
func pingAll(ctx context.Context, all []*client) (int, error) {
	var answered atomic.Int64
	err := each(ctx, len(all), func(_ context.Context, i int) error {
		if err := all[i].ping(i); err != nil {
			return err
		}
		answered.Add(1)
		return nil
	})
	return int(answered.Load()), err
}

// each calls do for 0 to n-1, loginsAtOnce of them at a time, and stops at the first error.
func each(ctx context.Context, n int, do func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, loginsAtOnce) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(ctx, i); err != nil {
					cancel(fmt.Errorf("client %d of %d: %w", i+1, n, err))
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
