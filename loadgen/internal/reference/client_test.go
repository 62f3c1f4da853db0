package reference

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"derpd/relay/derp"
)

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// peer is a plain client: crypto/tls, relay/derp, one goroutine, blocking.
type peer struct {
	t    testing.TB
	key  derp.Key
	conn net.Conn
	in   *bufio.Reader
}

// dial connects, with TLS if the server has it, and tells the key that its certificate shows.
func dial(t testing.TB, s *Server) (*peer, derp.Key) {
	t.Helper()
	raw, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	if err := raw.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, conn: raw}
	var key derp.Key
	if s.tls != nil {
		c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, ServerName: hostName})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		p.conn = c
		for _, cert := range c.ConnectionState().PeerCertificates {
			if k, _, ok := derp.KeyFromMetaCert(cert); ok {
				key = k
			}
		}
	}
	p.in = bufio.NewReader(p.conn)
	return p, key
}

// connect logs in, with fast start or the ordinary upgrade.
func connect(t testing.TB, s *Server, fast bool) *peer {
	t.Helper()
	p, shown := dial(t, s)
	if s.tls != nil && s.opt.NoFastStart == (shown == s.Key()) {
		t.Fatalf("the certificate shows the key %v", shown)
	}
	if err := p.login(s, fast); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *peer) login(s *Server, fast bool) error {
	private, err := derp.NewPrivateKey(rand.Reader)
	if err != nil {
		return err
	}
	p.key = private.Public()
	head := "GET /derp HTTP/1.1\r\nHost: " + hostName + "\r\nUpgrade: DERP\r\n" +
		"Connection: Upgrade\r\n"
	if fast {
		head += "Derp-Fast-Start: 1\r\n"
	}
	if _, err := io.WriteString(p.conn, head+"\r\n"); err != nil {
		return err
	}
	if !fast {
		res, err := http.ReadResponse(p.in, nil)
		if err != nil {
			return err
		}
		if res.StatusCode != 101 || res.Header.Get("Upgrade") != "DERP" ||
			res.Header.Get("Derp-Public-Key") != s.Key().Hex() {
			return fmt.Errorf("answer %v %v", res.Status, res.Header)
		}
	}
	kind, payload, err := p.frame()
	if err != nil {
		return err
	}
	server, err := derp.ParseServerKey(payload)
	if err != nil || kind != derp.FrameServerKey || server != s.Key() {
		return fmt.Errorf("greeting %v of %v, %w", kind, server, err)
	}
	login, shared, err := derp.AppendClientInfo(nil, private, server,
		derp.ClientInfo{Version: derp.ProtocolVersion}, [derp.NonceLen]byte{1})
	if err != nil {
		return err
	}
	if _, err := p.conn.Write(login); err != nil {
		return err
	}
	if kind, payload, err = p.frame(); err != nil {
		return err
	}
	info, err := shared.OpenServerInfo(payload)
	if err != nil || kind != derp.FrameServerInfo || info.Version != derp.ProtocolVersion {
		return fmt.Errorf("answer to the login %v: %+v, %w", kind, info, err)
	}
	return nil
}

func (p *peer) frame() (derp.FrameType, []byte, error) {
	var head [derp.HeaderLen]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		return 0, nil, err
	}
	kind, n, _ := derp.Header(head[:])
	if err := derp.CheckLen(kind, n, derp.FromServer); err != nil {
		return 0, nil, err
	}
	payload := make([]byte, n)
	_, err := io.ReadFull(p.in, payload)
	return kind, payload, err
}

func (p *peer) send(to *peer, content string) {
	p.t.Helper()
	if _, err := p.conn.Write(derp.AppendSendPacket(nil, to.key, []byte(content))); err != nil {
		p.t.Fatal(err)
	}
}

// receive expects a packet.
func (p *peer) receive() (derp.Key, string) {
	p.t.Helper()
	kind, payload, err := p.frame()
	if err != nil || kind != derp.FrameRecvPacket {
		p.t.Fatalf("received %v, %v; want a packet", kind, err)
	}
	src, content, err := derp.ParseRecvPacket(payload)
	if err != nil {
		p.t.Fatal(err)
	}
	return src, string(content)
}

// sync returns when the server has read all that was sent before, and nothing else came.
func (p *peer) sync() {
	p.t.Helper()
	data := [derp.PingLen]byte{'s', 'y', 'n', 'c'}
	if _, err := p.conn.Write(derp.AppendPing(nil, data)); err != nil {
		p.t.Fatal(err)
	}
	kind, payload, err := p.frame()
	if err != nil || kind != derp.FramePong {
		p.t.Fatalf("received %v, %v; want a Pong", kind, err)
	}
	if got, err := derp.ParsePong(payload); err != nil || got != data {
		p.t.Fatalf("the Pong has %q, %v", got, err)
	}
}

// settle waits until no packet is under way and checks that the books balance.
func settle(t testing.TB, s *Server, received uint64) Stats {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		st := s.Stats()
		sum := st.Delivered - st.Duplicated
		for _, n := range st.Dropped {
			sum += n
		}
		if st.Waiting == 0 && st.Received == received && sum == received {
			return st
		}
		if time.Now().After(end) {
			t.Fatalf("not settled within %v: %+v", patience, st)
		}
	}
}
